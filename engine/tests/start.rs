//! What a machine does not allow is told at the start, as one error with a cure.

use engine::gateway::{Gateway, GatewayConfig, StartError, inboxes};
use engine::session::Policy;
use engine::shard::Echo;
use protocol::{GatewayId, Limits};
use std::net::TcpListener;
use std::sync::Arc;

fn start(listen: &str, connections_max: usize) -> Result<Gateway, StartError> {
    let config = GatewayConfig {
        listen: listen.parse().expect("an address"),
        gateway: GatewayId::new("test").expect("an id"),
        boot_epoch: 1,
        shards: 2,
        cores: vec![],
        limits: Limits { connections_max, ..Limits::default() },
        policy: Arc::new(Policy { keys: None, origins: vec![] }),
    };
    Gateway::start(&config, inboxes(2)?, |_| Echo)
}

#[test]
fn a_table_that_no_kernel_grants_is_refused_before_a_shard_starts() {
    let error = start("127.0.0.1:0", 1 << 21).unwrap_err();
    assert!(matches!(error, StartError::Forbidden(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("connections_max") && text.contains("ringway doctor"), "{text}");
}

#[test]
fn an_address_in_use_is_told_and_nothing_stays_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(matches!(start(&address, 10), Err(StartError::Listen(_))));
    drop(taken);
    let gateway = start(&address, 10).expect("the address is free again");
    gateway.close();
    gateway.join().unwrap();
}
