//! The integration tests, one binary: black-box tests of the real process, contracts of the seams, rules of the house.

mod attachments;
mod classify;
mod cli_act;
mod cli_check;
mod cli_client;
mod cli_enqueue;
mod cli_fake;
mod cli_read;
mod cli_status;
mod config;
mod config_refusals;
mod crash;
mod daemon;
mod doors;
mod engine_pace;
mod http_in;
mod http_out;
mod lifecycle;
mod messages_doc;
mod provider_reads;
mod queue;
mod sandbox;
mod sql_door;
mod store_contract;
mod store_plans;
mod tidy;
