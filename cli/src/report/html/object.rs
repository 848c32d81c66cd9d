//! A JSON object, written field by field: a long list is never in memory as a whole.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

/// A JSON object, written field by field.
pub struct Object<'a> {
    out: &'a mut dyn Write,
    separator: &'static str,
}

impl<'a> Object<'a> {
    pub fn new(out: &'a mut dyn Write) -> Object<'a> {
        Object { out, separator: "{" }
    }

    fn name(&mut self, name: &str) -> io::Result<()> {
        write!(self.out, "{}\"{name}\":", std::mem::replace(&mut self.separator, ","))
    }

    pub fn field(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.name(name)?;
        Ok(serde_json::to_writer(&mut *self.out, value)?)
    }

    pub fn column<T: Serialize>(&mut self, name: &str, values: impl Iterator<Item = T>) -> io::Result<()> {
        self.name(name)?;
        Ok(serde_json::Serializer::new(&mut *self.out).collect_seq(values)?)
    }

    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>) -> io::Result<()>) -> io::Result<()> {
        self.name(name)?;
        let mut object = Object::new(&mut *self.out);
        fill(&mut object)?;
        object.end()
    }

    pub fn end(self) -> io::Result<()> {
        self.out.write_all(b"}")
    }
}
