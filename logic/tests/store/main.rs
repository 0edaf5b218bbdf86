//! What every store promises: one suite, run against SQLite and against MySQL; then what each of
//! them promises beyond.

mod commits;
mod groups;
mod lists;
mod locked;
mod marks;
mod mysql_server;
mod persister;
mod places;
mod reading;
mod replays;
mod scripted;
mod setup;
mod share;
mod sqlite_files;
mod thread;

/// Runs each of these functions against every store.
macro_rules! for_every_store {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { crate::places::on_sqlite(super::$test); })+
        }
        mod mysql {
            $(#[test] fn $test() { crate::places::on_mysql(super::$test); })+
        }
    };
}
use for_every_store;
