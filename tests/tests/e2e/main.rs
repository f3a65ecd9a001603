//! What the shop promises, tried from the outside on the real binary. One program for all, so that tests that leave
//! the shop running share one.

mod bulk;
mod crashes;
mod crowds;
mod faults;
mod grpc;
mod imports;
mod orders;
mod outcomes;
mod prices;
mod privacy;
mod process;
mod rebuilds;
mod rest;
mod roles;
