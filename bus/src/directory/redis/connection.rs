//! A connection to Redis that is made at need, bounded in time, and made again after an error.

use super::Settings;
use crate::directory::DirectoryError;
use redis::{
    Client, Connection, ConnectionLike, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind,
};

impl From<RedisError> for DirectoryError {
    fn from(error: RedisError) -> Self {
        Self(error.to_string())
    }
}

/// One thread's connection.
pub(crate) struct Link {
    settings: Settings,
    connection: Option<Connection>,
}

impl Link {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), connection: None }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs `call` on the connection; after a fault of the connection the next call has a new one.
    pub(crate) fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = call(&mut connection);
        // An answer from the server leaves the stream in step; anything else may not.
        let in_step = result.as_ref().err().is_none_or(|error| matches!(error.kind(), ErrorKind::Server(_)));
        if in_step && connection.is_open() {
            self.connection = Some(connection);
        }
        result
    }

    /// Runs a pipeline; one that calls scripts which the server has forgotten is run again once
    /// they are loaded.
    pub(crate) fn pipeline<T: FromRedisValue>(
        &mut self,
        pipeline: &Pipeline,
        scripts: &[&redis::Script],
    ) -> Result<T, RedisError> {
        match self.with(|connection| pipeline.query(connection)) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.with(|connection| {
                    scripts.iter().try_for_each(|script| script.load(connection).map(drop))
                })?;
                self.with(|connection| pipeline.query(connection))
            }
            other => other,
        }
    }

    fn connect(&self) -> Result<Connection, RedisError> {
        let client = Client::open(self.settings.url.as_str())?;
        let connection = client.get_connection_with_timeout(self.settings.timeout)?;
        connection.set_read_timeout(Some(self.settings.timeout))?;
        connection.set_write_timeout(Some(self.settings.timeout))?;
        Ok(connection)
    }
}
