//! XML to JSON: an element is an object of its elements and attributes, and records are always arrays.

use quick_xml::errors::{IllFormedError, SyntaxError};
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;
use sync_core::{Error, Result};

use super::{cut_off, too_large};
use crate::config::Endpoint;
use crate::pointer;

/// How deep elements may stand in each other: as deep as JSON may nest.
const DEEPEST: usize = 60;
/// How many names the elements and attributes of one element may have.
const MOST_NAMES: usize = 1000;

/// What must be an array, be there one element of it, many, or none.
#[derive(Debug)]
pub(crate) struct Shape {
    lists: Vec<Vec<String>>,
    /// The last place of records: an empty array where the element around it is there.
    records: Vec<String>,
}

impl Shape {
    /// # Errors
    /// `Config`, where the records are not named by elements.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self> {
        let wrong =
            || Error::config("field `records` names the elements of XML from the outermost on, such as \"/feed/link\"");
        let records: Vec<_> = endpoint.records.iter().filter_map(|text| pointer::steps(text)).collect();
        if records.len() < endpoint.records.len() || records.iter().any(Vec::is_empty) {
            return Err(wrong());
        }
        let last = records.last().cloned().ok_or_else(wrong)?;
        let explode = endpoint.explode.as_deref().and_then(pointer::steps);
        let inside = explode.map(|steps| endpoint.wrapper.iter().cloned().chain(steps).collect::<Vec<_>>());
        let exploded = inside.iter().flat_map(|inside| records.iter().map(|outer| [&**outer, inside].concat()));
        let lists = exploded.chain(records.iter().cloned()).collect();
        Ok(Self { lists, records: last })
    }

    /// The document as one JSON object with the outermost element as its only member.
    ///
    /// # Errors
    /// `Malformed` where it is no XML, or has a document type, whose entities may grow without bounds.
    pub(super) fn to_json(&self, text: &str, most: usize) -> Result<String> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut open = vec![Element::default()];
        loop {
            let event = reader.read_event().map_err(|cause| fault(&cause, text))?;
            let (inside, too_deep) = (open.len() > 1, open.len() > DEEPEST);
            let Some(here) = open.last_mut() else { return Err(not_xml()) };
            match event {
                Event::Start(start) => {
                    if too_deep {
                        return Err(Error::malformed(format!("the body nests deeper than {DEEPEST} elements")));
                    }
                    if !inside && !here.members.is_empty() {
                        return Err(not_xml());
                    }
                    open.push(Element::of(&start)?);
                }
                Event::End(_) if inside => self.close(&mut open, most)?,
                Event::Text(text) => here.say(&text.xml10_content().map_err(|_| not_xml())?, inside)?,
                Event::CData(text) => here.say(&text.xml10_content().map_err(|_| not_xml())?, inside)?,
                Event::GeneralRef(entity) => {
                    let sign = entity.resolve_char_ref().map_err(|_| not_xml())?;
                    let sign = sign
                        .or_else(|| predefined(&entity))
                        .ok_or_else(|| Error::malformed("the body uses an entity that XML itself does not define"))?;
                    here.say(sign.encode_utf8(&mut [0; 4]), inside)?;
                }
                Event::Decl(declaration) => check_encoding(&declaration)?,
                Event::DocType(_) => {
                    return Err(Error::malformed("the body has a document type, and those are not read"));
                }
                Event::Comment(_) | Event::PI(_) | Event::Empty(_) => {}
                Event::End(_) => return Err(not_xml()),
                Event::Eof if inside => return Err(cut_off("the body ends before its XML is complete")),
                Event::Eof if here.members.is_empty() => return Err(not_xml()),
                Event::Eof => return Ok(open.swap_remove(0).json()),
            }
        }
    }

    /// Ends the innermost element and puts it into the one around it.
    fn close(&self, open: &mut Vec<Element>, most: usize) -> Result<()> {
        let is_at = |path: &[String], open: &[Element]| {
            path.len() + 1 == open.len() && path.iter().zip(&open[1..]).all(|(step, element)| *step == element.name)
        };
        let list = self.lists.iter().any(|path| is_at(path, open));
        let around = self.records.split_last().filter(|(_, around)| is_at(around, open));
        let Some(mut element) = open.pop() else { return Err(not_xml()) };
        if let Some((name, _)) = around {
            element.member(name)?.list = true;
        }
        let name = std::mem::take(&mut element.name);
        let json = element.json();
        if json.len() > most {
            return Err(too_large(most));
        }
        let Some(parent) = open.last_mut() else { return Err(not_xml()) };
        let member = parent.member(&name)?;
        member.values.push(json);
        member.list |= list;
        Ok(())
    }
}

/// An element that is not complete yet.
#[derive(Default)]
struct Element {
    name: String,
    members: Vec<Member>,
    text: String,
}

/// The elements or the attribute of one name, as JSON.
struct Member {
    name: String,
    values: Vec<String>,
    list: bool,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Result<Self> {
        let mut element = Self { name: name(start.name().as_ref())?.to_owned(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| Error::malformed("the body has an attribute that is not XML"))?;
            let name = name(attribute.key.as_ref())?;
            if name == "xmlns" || name.starts_with("xmlns:") {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| not_xml())?;
            element.member(&format!("@{name}"))?.values.push(Value::from(&*value).to_string());
        }
        Ok(element)
    }

    fn member(&mut self, name: &str) -> Result<&mut Member> {
        let at = match self.members.iter().position(|member| member.name == name) {
            Some(at) => at,
            None if self.members.len() >= MOST_NAMES => {
                return Err(Error::malformed(format!("an element holds more than {MOST_NAMES} different names")));
            }
            None => {
                self.members.push(Member { name: name.to_owned(), values: Vec::new(), list: false });
                self.members.len() - 1
            }
        };
        Ok(&mut self.members[at])
    }

    fn say(&mut self, text: &str, inside: bool) -> Result<()> {
        if !inside {
            return if text.trim().is_empty() { Ok(()) } else { Err(not_xml()) };
        }
        self.text.push_str(text);
        Ok(())
    }

    fn json(self) -> String {
        let said = |text: &str| if text.trim().is_empty() { None } else { Some(Value::from(text).to_string()) };
        if self.members.is_empty() {
            return said(&self.text).unwrap_or_else(|| "null".to_owned());
        }
        let text = said(self.text.trim()).map(|text| format!("\"#text\":{text}"));
        let members = self.members.into_iter().map(|mut member| {
            let name = Value::from(member.name).to_string();
            match (member.values.as_mut_slice(), member.list) {
                ([value], false) => format!("{name}:{value}"),
                (values, _) => format!("{name}:[{}]", values.join(",")),
            }
        });
        format!("{{{}}}", members.chain(text).collect::<Vec<_>>().join(","))
    }
}

fn name(raw: &[u8]) -> Result<&str> {
    std::str::from_utf8(raw).map_err(|_| not_xml())
}

fn predefined(entity: &[u8]) -> Option<char> {
    match entity {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => None,
    }
}

fn check_encoding(declaration: &BytesDecl<'_>) -> Result<()> {
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name)) if [&b"utf-8"[..], b"us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known)) => Ok(()),
        Some(_) => Err(Error::malformed("the body is not in UTF-8 by its own declaration")),
    }
}

fn not_xml() -> Error {
    Error::malformed("the body is not valid XML")
}

fn fault(cause: &quick_xml::Error, text: &str) -> Error {
    let is_cut = match cause {
        quick_xml::Error::Syntax(SyntaxError::InvalidBangMarkup) => {
            text.rfind("<!").is_some_and(|at| ["<!--", "<![CDATA["].iter().any(|whole| whole.starts_with(&text[at..])))
        }
        // All others are something that is open at the end.
        quick_xml::Error::Syntax(_) | quick_xml::Error::IllFormed(IllFormedError::MissingEndTag(_)) => true,
        quick_xml::Error::IllFormed(IllFormedError::UnclosedReference) => {
            text.rfind('&').is_some_and(|at| !text[at..].contains(|sign: char| sign == '<' || sign.is_whitespace()))
        }
        _ => false,
    };
    if is_cut { cut_off("the body ends before its XML is complete") } else { not_xml() }
}

#[cfg(test)]
mod tests {
    use sync_core::Retry;

    use super::*;
    use crate::config::get;

    fn json(text: &str) -> Result<String> {
        Shape::new(&get("/c").records("/feed/link").explode("/cats/cat")).unwrap().to_json(text, 2000)
    }

    #[test]
    fn elements_attributes_and_texts_become_members() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?><!-- x -->
            <feed xmlns="u" xmlns:a="v"><total>1</total><link type="T &amp; U"><a:b>x &lt; &#65;<![CDATA[<i>&amp;]]></a:b>
            <empty/><net id="3">Name</net><cats><cat id="1"/></cats><n>1</n><n>2</n></link></feed>"#;
        let want = concat!(
            r#"{"feed":{"total":"1","link":[{"@type":"T & U","a:b":"x < A<i>&amp;","empty":null,"#,
            r##""net":{"@id":"3","#text":"Name"},"cats":{"cat":[{"@id":"1"}]},"n":["1","2"]}]}}"##,
        );
        assert_eq!(json(text).unwrap(), want);
    }

    #[test]
    fn records_are_an_array_even_if_there_are_none() {
        assert_eq!(json("<feed/>").unwrap(), r#"{"feed":{"link":[]}}"#);
        assert_eq!(json("<other><link/></other>").unwrap(), r#"{"other":{"link":null}}"#);
    }

    #[test]
    fn an_end_too_early_is_told_from_what_is_no_xml() {
        let whole = r#"<feed><link a="1">x &amp; y<!-- c --></link></feed>"#;
        for end in 1..whole.len() - 1 {
            let error = json(&whole[..end]).unwrap_err();
            assert_eq!(error.retry(), Retry::Backoff, "{:?}: {error}", &whole[..end]);
        }
        for text in [
            "<feed><link></feed>",
            "<feed/><feed/>",
            "<feed/>x",
            "<feed>&unknown;</feed>",
            "<feed>a & b</feed>",
            "<feed a='1' a='2'/>",
            "<!DOCTYPE feed [<!ENTITY a 'b'>]><feed>&a;</feed>",
            r#"<?xml version="1.0" encoding="ISO-8859-1"?><feed/>"#,
            "</feed>",
        ] {
            assert_eq!(json(text).unwrap_err().retry(), Retry::Never, "{text}");
        }
    }

    #[test]
    fn depth_and_names_are_limited() {
        let deep = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(json(&deep(60)).is_ok() && json(&deep(61)).is_err());
        let many: String = (0..1001).map(|n| format!("<a{n}/>")).collect();
        let shape = Shape::new(&get("/c").records("/feed/link")).unwrap();
        assert!(shape.to_json(&format!("<feed>{many}</feed>"), 1 << 20).is_err());
    }
}
