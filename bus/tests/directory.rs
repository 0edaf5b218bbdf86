//! What every directory promises.

use bus::directory::{Directory, Memory};
use protocol::{GatewayId, Origin, SessionRef, UserId};

fn session(boot_epoch: u64, slot: u32, generation: u32) -> Origin {
    let gateway = GatewayId::new("gw").unwrap();
    Origin { gateway, boot_epoch, session: SessionRef { shard: 0, slot, generation } }
}

fn keeps_its_promises(mut directory: impl Directory) {
    let routes = |directory: &dyn Directory, user| {
        let mut out = vec![];
        directory.routes(UserId(user), &mut out);
        out
    };
    assert_eq!(routes(&directory, 1), []);
    directory.add(UserId(1), session(1, 1, 0));
    directory.add(UserId(1), session(1, 1, 0));
    directory.add(UserId(1), session(1, 2, 0));
    directory.add(UserId(2), session(1, 3, 0));
    assert_eq!(routes(&directory, 1), [session(1, 1, 0), session(1, 2, 0)], "added twice counts once");
    directory.remove(UserId(1), session(1, 1, 1));
    directory.remove(UserId(1), session(2, 1, 0));
    assert_eq!(routes(&directory, 1).len(), 2, "another generation or start removes nothing");
    directory.remove(UserId(1), session(1, 1, 0));
    assert_eq!(routes(&directory, 1), [session(1, 2, 0)]);
    directory.remove(UserId(1), session(1, 2, 0));
    assert_eq!((routes(&directory, 1).len(), routes(&directory, 2).len()), (0, 1));
}

#[test]
fn the_memory_directory_keeps_its_promises() {
    keeps_its_promises(Memory::default());
}
