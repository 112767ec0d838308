//! An iSCSI initiator that needs no other program (RFC 7143).
pub mod name;
