//! Where customers live and what they are called there.

/// A country with names that are heard in it; each name also as it is spelt in an e-mail address.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) country: &'static str,
    pub(super) company: &'static str,
    pub(super) order: Order,
    pub(super) cities: &'static [&'static str],
    pub(super) given: &'static [(&'static str, &'static str)],
    pub(super) family: &'static [(&'static str, &'static str)],
}

/// Which part of a name comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    GivenFirst,
    FamilyFirst,
    /// Family first, and nothing between the two.
    Joined,
}

// Names stand in rows here: one to a line would be four times as long.
#[rustfmt::skip]
pub(super) const PLACES: &[Place] = &[
    Place {
        country: "DE",
        company: "GmbH",
        order: Order::GivenFirst,
        cities: &["Köln", "München", "Leipzig", "Düsseldorf", "Görlitz"],
        given: &[("Jürgen", "juergen"), ("Zoë", "zoe"), ("Anneliese", "anneliese"), ("Björn", "bjoern"), ("Käthe", "kaethe"), ("Lukas", "lukas"), ("Sören", "soeren"), ("Marlene", "marlene")],
        family: &[("Müller", "mueller"), ("Groß", "gross"), ("Schäfer", "schaefer"), ("Weiß", "weiss"), ("Krüger", "krueger"), ("Lehmann", "lehmann"), ("Vogt", "vogt"), ("Jäger", "jaeger")],
    },
    Place {
        country: "FR",
        company: "SARL",
        order: Order::GivenFirst,
        cities: &["Besançon", "Saint-Étienne", "Lyon", "Nîmes", "Orléans"],
        given: &[("Hélène", "helene"), ("François", "francois"), ("Chloé", "chloe"), ("Jérôme", "jerome"), ("Noémie", "noemie"), ("Gaëlle", "gaelle"), ("Antoine", "antoine"), ("Maëlys", "maelys")],
        family: &[("Lefèvre", "lefevre"), ("Dubois", "dubois"), ("Gonçalvès", "goncalves"), ("Bérenger", "berenger"), ("Moreau", "moreau"), ("Lemaître", "lemaitre"), ("Château", "chateau"), ("Rousseau", "rousseau")],
    },
    Place {
        country: "PL",
        company: "sp. z o.o.",
        order: Order::GivenFirst,
        cities: &["Łódź", "Kraków", "Gdańsk", "Poznań", "Wrocław"],
        given: &[("Łukasz", "lukasz"), ("Małgorzata", "malgorzata"), ("Paweł", "pawel"), ("Agnieszka", "agnieszka"), ("Michał", "michal"), ("Zofia", "zofia"), ("Stanisław", "stanislaw"), ("Bożena", "bozena")],
        family: &[("Wójcik", "wojcik"), ("Kamiński", "kaminski"), ("Zieliński", "zielinski"), ("Dąbrowski", "dabrowski"), ("Szymański", "szymanski"), ("Woźniak", "wozniak"), ("Król", "krol"), ("Jabłoński", "jablonski")],
    },
    Place {
        country: "CZ",
        company: "s.r.o.",
        order: Order::GivenFirst,
        cities: &["Plzeň", "Brno", "České Budějovice", "Olomouc", "Žďár nad Sázavou"],
        given: &[("Jiří", "jiri"), ("Tereza", "tereza"), ("Ondřej", "ondrej"), ("Kateřina", "katerina"), ("Luboš", "lubos"), ("Eliška", "eliska"), ("Matěj", "matej"), ("Žaneta", "zaneta")],
        family: &[("Novák", "novak"), ("Dvořák", "dvorak"), ("Procházka", "prochazka"), ("Kučera", "kucera"), ("Říha", "riha"), ("Němec", "nemec"), ("Šťastný", "stastny"), ("Blažek", "blazek")],
    },
    Place {
        country: "ES",
        company: "S.L.",
        order: Order::GivenFirst,
        cities: &["Málaga", "Cádiz", "A Coruña", "León", "San Sebastián"],
        given: &[("Begoña", "begona"), ("Iñaki", "inaki"), ("María", "maria"), ("José", "jose"), ("Andrés", "andres"), ("Núria", "nuria"), ("Joaquín", "joaquin"), ("Concepción", "concepcion")],
        family: &[("García", "garcia"), ("Muñoz", "munoz"), ("Ibáñez", "ibanez"), ("Peña", "pena"), ("Fernández", "fernandez"), ("Núñez", "nunez"), ("Gutiérrez", "gutierrez"), ("Ordóñez", "ordonez")],
    },
    Place {
        country: "PT",
        company: "Lda.",
        order: Order::GivenFirst,
        cities: &["Lisboa", "Évora", "Setúbal", "Guimarães", "Covilhã"],
        given: &[("João", "joao"), ("Conceição", "conceicao"), ("Inês", "ines"), ("Gonçalo", "goncalo"), ("Luís", "luis"), ("Mafalda", "mafalda"), ("Simão", "simao"), ("Fátima", "fatima")],
        family: &[("Magalhães", "magalhaes"), ("Simões", "simoes"), ("Araújo", "araujo"), ("Guimarães", "guimaraes"), ("Conceição", "conceicao"), ("Lourenço", "lourenco"), ("Sá", "sa"), ("Brandão", "brandao")],
    },
    Place {
        country: "SE",
        company: "AB",
        order: Order::GivenFirst,
        cities: &["Göteborg", "Malmö", "Västerås", "Örebro", "Umeå"],
        given: &[("Åsa", "asa"), ("Göran", "goran"), ("Märta", "marta"), ("Björn", "bjorn"), ("Elin", "elin"), ("Håkan", "hakan"), ("Saga", "saga"), ("Sören", "soren")],
        family: &[("Sjöberg", "sjoberg"), ("Åkesson", "akesson"), ("Lindström", "lindstrom"), ("Öberg", "oberg"), ("Nyström", "nystrom"), ("Bergqvist", "bergqvist"), ("Hägglund", "hagglund"), ("Ström", "strom")],
    },
    Place {
        country: "IS",
        company: "ehf.",
        order: Order::GivenFirst,
        cities: &["Reykjavík", "Ísafjörður", "Húsavík", "Höfn", "Akureyri"],
        given: &[("Guðrún", "gudrun"), ("Þór", "thor"), ("Ásta", "asta"), ("Björk", "bjork"), ("Sigríður", "sigridur"), ("Eiríkur", "eirikur"), ("Hrönn", "hronn"), ("Davíð", "david")],
        family: &[("Jónsdóttir", "jonsdottir"), ("Sigurðsson", "sigurdsson"), ("Þorsteinsson", "thorsteinsson"), ("Ólafsdóttir", "olafsdottir"), ("Björnsson", "bjornsson"), ("Helgadóttir", "helgadottir"), ("Kristjánsson", "kristjansson"), ("Árnadóttir", "arnadottir")],
    },
    Place {
        country: "TR",
        company: "A.Ş.",
        order: Order::GivenFirst,
        cities: &["İzmir", "Eskişehir", "Muğla", "Çanakkale", "Ankara"],
        given: &[("Gülşen", "gulsen"), ("Çağlar", "caglar"), ("Ayşe", "ayse"), ("Oğuz", "oguz"), ("İpek", "ipek"), ("Ümit", "umit"), ("Şule", "sule"), ("Deniz", "deniz")],
        family: &[("Yılmaz", "yilmaz"), ("Öztürk", "ozturk"), ("Şahin", "sahin"), ("Çelik", "celik"), ("Doğan", "dogan"), ("Güneş", "gunes"), ("Aydın", "aydin"), ("Koç", "koc")],
    },
    Place {
        country: "GR",
        company: "Ε.Π.Ε.",
        order: Order::GivenFirst,
        cities: &["Θεσσαλονίκη", "Πάτρα", "Χανιά", "Βόλος", "Ιωάννινα"],
        given: &[("Ελένη", "eleni"), ("Γιώργος", "giorgos"), ("Κατερίνα", "katerina"), ("Νίκος", "nikos"), ("Σοφία", "sofia"), ("Δημήτρης", "dimitris"), ("Άννα", "anna"), ("Χρήστος", "christos")],
        family: &[("Παπαδόπουλος", "papadopoulos"), ("Νικολάου", "nikolaou"), ("Γεωργίου", "georgiou"), ("Βασιλείου", "vasileiou"), ("Οικονόμου", "oikonomou"), ("Αλεξίου", "alexiou"), ("Μακρής", "makris"), ("Ιωάννου", "ioannou")],
    },
    Place {
        country: "UA",
        company: "ТОВ",
        order: Order::GivenFirst,
        cities: &["Львів", "Одеса", "Чернівці", "Харків", "Полтава"],
        given: &[("Олена", "olena"), ("Андрій", "andriy"), ("Марія", "mariya"), ("Тарас", "taras"), ("Ірина", "iryna"), ("Богдан", "bohdan"), ("Соломія", "solomiya"), ("Юрій", "yuriy")],
        family: &[("Шевченко", "shevchenko"), ("Коваленко", "kovalenko"), ("Бондар", "bondar"), ("Мельник", "melnyk"), ("Ткачук", "tkachuk"), ("Гончаренко", "honcharenko"), ("Кравець", "kravets"), ("Яремчук", "yaremchuk")],
    },
    Place {
        country: "VN",
        company: "JSC",
        order: Order::FamilyFirst,
        cities: &["Huế", "Đà Nẵng", "Hải Phòng", "Cần Thơ", "Đà Lạt"],
        given: &[("Hương", "huong"), ("Đức", "duc"), ("Thảo", "thao"), ("Quân", "quan"), ("Ngọc", "ngoc"), ("Tuấn", "tuan"), ("Phượng", "phuong"), ("Sơn", "son")],
        family: &[("Nguyễn", "nguyen"), ("Trần", "tran"), ("Phạm", "pham"), ("Đặng", "dang"), ("Bùi", "bui"), ("Hồ", "ho"), ("Đỗ", "do"), ("Võ", "vo")],
    },
    Place {
        country: "JP",
        company: "株式会社",
        order: Order::Joined,
        cities: &["京都", "札幌", "福岡", "金沢", "松本"],
        given: &[("陽子", "yoko"), ("健太", "kenta"), ("美咲", "misaki"), ("大輔", "daisuke"), ("さくら", "sakura"), ("翔太", "shota"), ("恵", "megumi"), ("直樹", "naoki")],
        family: &[("佐藤", "sato"), ("鈴木", "suzuki"), ("高橋", "takahashi"), ("田中", "tanaka"), ("渡辺", "watanabe"), ("小林", "kobayashi"), ("加藤", "kato"), ("山口", "yamaguchi")],
    },
    Place {
        country: "GB",
        company: "Ltd",
        order: Order::GivenFirst,
        cities: &["Bristol", "Leeds", "Inverness", "Norwich", "Cardiff"],
        given: &[("Olivia", "olivia"), ("Callum", "callum"), ("Siân", "sian"), ("Rhys", "rhys"), ("Imogen", "imogen"), ("Alasdair", "alasdair"), ("Freya", "freya"), ("Euan", "euan")],
        family: &[("Whitaker", "whitaker"), ("MacLeod", "macleod"), ("Pryce", "pryce"), ("Ashworth", "ashworth"), ("Sinclair", "sinclair"), ("Hargreaves", "hargreaves"), ("O'Connell", "oconnell"), ("Fairbairn", "fairbairn")],
    },
];
