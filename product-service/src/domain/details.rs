//! What describes a product and no rule depends on: name, texts, category, images. A state keeps only a fingerprint
//! of each, which is enough to see that a change changes nothing.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::limits::{
    MAX_ALT_CHARS, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, MAX_BODY_BYTES, MAX_CATEGORY_DEPTH, MAX_IMAGES,
    MAX_NAME_CHARS, MAX_TAGS, MAX_URL_CHARS,
};
use super::text;
use super::values::{InvalidValue, Violation};

/// A picture of the product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub url: String,
    /// May be empty.
    pub alt_text: String,
}

/// All that describes a product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    pub name: String,
    /// HTML as the shop keeper wrote it.
    pub description: String,
    pub brand: String,
    /// From the most general category to the most particular.
    pub category_path: Vec<String>,
    pub supplier: String,
    pub attributes: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub images: Vec<Image>,
}

/// Which detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Name,
    Description,
    Brand,
    CategoryPath,
    Supplier,
    Attributes,
    Tags,
    Images,
}

impl Field {
    pub const ALL: [Self; 8] = [
        Self::Name,
        Self::Description,
        Self::Brand,
        Self::CategoryPath,
        Self::Supplier,
        Self::Attributes,
        Self::Tags,
        Self::Images,
    ];

    /// As field masks and violations name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Brand => "brand",
            Self::CategoryPath => "category_path",
            Self::Supplier => "supplier",
            Self::Attributes => "attributes",
            Self::Tags => "tags",
            Self::Images => "images",
        }
    }
}

/// One detail with its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailChange {
    Name(String),
    Description(String),
    Brand(String),
    CategoryPath(Vec<String>),
    Supplier(String),
    Attributes(BTreeMap<String, String>),
    Tags(Vec<String>),
    Images(Vec<Image>),
}

/// Tells values of one detail apart without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    fn of(value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).expect("texts, lists and maps of texts are JSON");
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&Sha256::digest(json)[..16]);
        Self(fingerprint)
    }
}

impl DetailChange {
    pub fn field(&self) -> Field {
        match self {
            Self::Name(_) => Field::Name,
            Self::Description(_) => Field::Description,
            Self::Brand(_) => Field::Brand,
            Self::CategoryPath(_) => Field::CategoryPath,
            Self::Supplier(_) => Field::Supplier,
            Self::Attributes(_) => Field::Attributes,
            Self::Tags(_) => Field::Tags,
            Self::Images(_) => Field::Images,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Name(text) | Self::Description(text) | Self::Brand(text) | Self::Supplier(text) => {
                Fingerprint::of(text)
            }
            Self::CategoryPath(list) | Self::Tags(list) => Fingerprint::of(list),
            Self::Attributes(attributes) => Fingerprint::of(attributes),
            Self::Images(images) => Fingerprint::of(images),
        }
    }

    /// The rules that the value breaks, with the field.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations { field: self.field().name(), list: Vec::new() };
        match self {
            Self::Name(name) => found.check("", text::filled_line(name, MAX_NAME_CHARS)),
            Self::Description(description) => found.check("", text::block(description, MAX_BODY_BYTES)),
            Self::Brand(name) | Self::Supplier(name) => found.check("", text::line(name, MAX_NAME_CHARS)),
            Self::CategoryPath(path) => {
                found.check_count(path.len(), MAX_CATEGORY_DEPTH);
                for (at, level) in path.iter().enumerate() {
                    found.check(&format!("[{at}]"), text::filled_line(level, MAX_NAME_CHARS));
                    if level.contains('>') {
                        found.check(&format!("[{at}]"), Err(InvalidValue::CategorySeparator));
                    }
                }
            }
            Self::Attributes(attributes) => {
                found.check_count(attributes.len(), MAX_ATTRIBUTES);
                for (name, value) in attributes {
                    found.check("", text::filled_line(name, MAX_NAME_CHARS));
                    found.check(&format!("[{name}]"), text::line(value, MAX_ATTRIBUTE_CHARS));
                }
            }
            Self::Tags(tags) => {
                found.check_count(tags.len(), MAX_TAGS);
                let mut seen = HashMap::new();
                for (at, tag) in tags.iter().enumerate() {
                    found.check(&format!("[{at}]"), text::filled_line(tag, MAX_NAME_CHARS));
                    if let Some(first) = seen.insert(tag, at) {
                        found.check(&format!("[{at}]"), Err(InvalidValue::Repeated(first)));
                    }
                }
            }
            Self::Images(images) => {
                found.check_count(images.len(), MAX_IMAGES);
                for (at, image) in images.iter().enumerate() {
                    found.check(&format!("[{at}].url"), web_address(&image.url));
                    found.check(&format!("[{at}].alt_text"), text::line(&image.alt_text, MAX_ALT_CHARS));
                }
            }
        }
        found.list
    }
}

fn web_address(url: &str) -> Result<(), InvalidValue> {
    text::line(url, MAX_URL_CHARS)?;
    if text::is_web_address(url) { Ok(()) } else { Err(InvalidValue::WebAddress) }
}

struct Violations {
    field: &'static str,
    list: Vec<Violation>,
}

impl Violations {
    fn check(&mut self, place: &str, result: Result<(), InvalidValue>) {
        if let Err(why) = result {
            self.list.push((format!("{}{place}", self.field), why));
        }
    }

    fn check_count(&mut self, count: usize, limit: usize) {
        self.check("", if count > limit { Err(InvalidValue::TooMany(limit)) } else { Ok(()) });
    }
}

impl Details {
    /// As changes of every field, to check or compare them.
    pub fn into_changes(self) -> Vec<DetailChange> {
        vec![
            DetailChange::Name(self.name),
            DetailChange::Description(self.description),
            DetailChange::Brand(self.brand),
            DetailChange::CategoryPath(self.category_path),
            DetailChange::Supplier(self.supplier),
            DetailChange::Attributes(self.attributes),
            DetailChange::Tags(self.tags),
            DetailChange::Images(self.images),
        ]
    }

    /// What changes make of nothing.
    pub fn of(changes: impl IntoIterator<Item = DetailChange>) -> Self {
        let mut details = Self::default();
        for change in changes {
            match change {
                DetailChange::Name(name) => details.name = name,
                DetailChange::Description(description) => details.description = description,
                DetailChange::Brand(brand) => details.brand = brand,
                DetailChange::CategoryPath(path) => details.category_path = path,
                DetailChange::Supplier(supplier) => details.supplier = supplier,
                DetailChange::Attributes(attributes) => details.attributes = attributes,
                DetailChange::Tags(tags) => details.tags = tags,
                DetailChange::Images(images) => details.images = images,
            }
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(change: DetailChange) -> Vec<(String, InvalidValue)> {
        change.violations()
    }

    #[test]
    fn a_violation_names_the_entry_that_breaks_the_rule() {
        assert_eq!(fields(DetailChange::Name(String::new())), [("name".into(), InvalidValue::Empty)]);
        let path = vec!["Home".into(), "A > B".into()];
        let expected = [("category_path[1]".into(), InvalidValue::CategorySeparator)];
        assert_eq!(fields(DetailChange::CategoryPath(path)), expected);
        let tags = vec!["a".into(), String::new(), "a".into()];
        let expected =
            [("tags[1]".into(), InvalidValue::Empty), ("tags[2]".into(), InvalidValue::Repeated(0))];
        assert_eq!(fields(DetailChange::Tags(tags)), expected);
        let image = Image { url: "javascript:alert(1)".into(), alt_text: "\0".into() };
        let expected = [
            ("images[0].url".into(), InvalidValue::WebAddress),
            ("images[0].alt_text".into(), InvalidValue::Line),
        ];
        assert_eq!(fields(DetailChange::Images(vec![image])), expected);
        let attributes = BTreeMap::from([("care".to_owned(), "wash\0".to_owned())]);
        assert_eq!(
            fields(DetailChange::Attributes(attributes)),
            [("attributes[care]".into(), InvalidValue::Line)]
        );
    }

    #[test]
    fn lists_and_texts_have_limits() {
        let many = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        for (change, limit) in [
            (DetailChange::Tags(many(MAX_TAGS + 1)), MAX_TAGS),
            (DetailChange::CategoryPath(many(MAX_CATEGORY_DEPTH + 1)), MAX_CATEGORY_DEPTH),
            (
                DetailChange::Attributes(
                    many(MAX_ATTRIBUTES + 1).into_iter().map(|n| (n.clone(), n)).collect(),
                ),
                MAX_ATTRIBUTES,
            ),
        ] {
            let field = change.field().name().to_owned();
            assert_eq!(fields(change), [(field, InvalidValue::TooMany(limit))]);
        }
        let description = DetailChange::Description("x".repeat(MAX_BODY_BYTES + 1));
        assert_eq!(fields(description), [("description".into(), InvalidValue::TooManyBytes(MAX_BODY_BYTES))]);
    }

    #[test]
    fn details_survive_being_taken_apart_and_a_fingerprint_tells_them_apart() {
        let details = Details {
            name: "Knife".into(),
            description: "<p>sharp</p>".into(),
            brand: "Brunnholt".into(),
            category_path: vec!["Home".into(), "Kitchen".into()],
            supplier: "Hollin".into(),
            attributes: BTreeMap::from([("steel".into(), "carbon".into())]),
            tags: vec!["gift".into()],
            images: vec![Image { url: "https://images.example/a.jpg".into(), alt_text: String::new() }],
        };
        let changes = details.clone().into_changes();
        assert!(changes.iter().map(DetailChange::field).eq(Field::ALL));
        assert!(changes.iter().all(|change| change.violations().is_empty()));
        assert_eq!(Details::of(changes.clone()), details);
        for (change, empty) in changes.iter().zip(Details::default().into_changes()) {
            assert_ne!(change.fingerprint(), empty.fingerprint());
            assert_eq!(change.fingerprint(), change.clone().fingerprint());
        }
    }
}
