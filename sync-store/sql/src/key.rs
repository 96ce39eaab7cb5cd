//! Names and ids as keys: every database takes them, however long they are.

/// The most bytes of a key. An index of InnoDB holds 3072 bytes, one of PostgreSQL about 2700, and the longest of ours
/// has three keys.
const MOST: usize = 512;
const HASH: usize = 64;

/// The key itself, or one of exactly [`MOST`] bytes that begins like it and ends with its hash. A key that stands for
/// itself is shorter, so that the two are never taken for each other.
///
/// PostgreSQL keeps no text with a zero byte; such keys are hashed, too.
pub(crate) fn fitted(key: &str) -> String {
    if key.len() < MOST && !key.contains('\0') {
        return key.to_owned();
    }
    let kept: String = key.replace('\0', "~");
    let end = kept.floor_char_boundary(MOST - HASH - 1);
    let mut fitted = kept[..end].to_owned();
    fitted.extend(std::iter::repeat_n('~', MOST - HASH - end));
    fitted.push_str(blake3::hash(key.as_bytes()).to_hex().as_str());
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_stands_for_itself() {
        assert_eq!(fitted("shop/orders@é "), "shop/orders@é ");
    }

    #[test]
    fn long_keys_stay_different_and_begin_alike() {
        let (one, other) = (fitted(&"é".repeat(400)), fitted(&"é".repeat(401)));
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (MOST, MOST));
        assert!(one.starts_with(&"é".repeat(200)));
    }

    #[test]
    fn no_key_is_taken_for_the_short_form_of_another() {
        let short = fitted(&"x".repeat(600));
        assert_ne!(fitted(&short), short);
    }

    #[test]
    fn a_zero_byte_is_not_kept_and_still_tells_keys_apart() {
        assert!(!fitted("a\0b").contains('\0'));
        assert_ne!(fitted("a\0b"), fitted("a~b"));
    }
}
