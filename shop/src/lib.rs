//! The whole shop in one process: what its binary is made of.
//!
//! Here are the pieces that only the all-in-one needs, above all the data folder and the PostgreSQL in it. The rules of
//! the shop live in the services; nothing in this crate knows them.

pub mod data_folder;
pub mod database;

#[cfg(test)]
mod scratch;
