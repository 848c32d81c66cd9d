//! Names of users and groups, each looked up once. A number without a name stands for itself.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::system;

/// Names that are known already.
#[derive(Debug, Default)]
pub struct Users {
    users: RefCell<HashMap<u32, String>>,
    groups: RefCell<HashMap<u32, String>>,
}

impl Users {
    pub fn user(&self, uid: u32) -> String {
        let name = || system::user_name(uid).unwrap_or_else(|| uid.to_string());
        self.users.borrow_mut().entry(uid).or_insert_with(name).clone()
    }

    pub fn group(&self, gid: u32) -> String {
        let name = || system::group_name(gid).unwrap_or_else(|| gid.to_string());
        self.groups.borrow_mut().entry(gid).or_insert_with(name).clone()
    }
}
