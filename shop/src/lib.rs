//! The whole shop in one process: what its binary is made of.
//!
//! Here are the pieces that only the all-in-one needs: the data folder and the PostgreSQL in it, the wiring of
//! all services, and the operator's command line. The rules of the shop live in the services; nothing in this
//! crate knows them but the audit, which sees all logs and checks what must hold between them.

pub mod audit;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod data_folder;
pub mod database;
mod rest;
mod running;
mod serve;

#[cfg(test)]
mod scratch;
