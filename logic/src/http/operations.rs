//! The API's operations in one table, from which both the router and the description are made.

use super::openapi::{self, describe};
use super::{Api, conversations, groups, session};
use axum::routing::{MethodRouter, delete, get, post, put};
use serde_json::Value;

/// One method of one path.
pub(super) struct Operation {
    /// In small letters.
    pub(super) method: &'static str,
    /// With its parameters in braces, as axum and OpenAPI have them.
    pub(super) path: &'static str,
    /// Makes what answers it.
    pub(super) handle: fn() -> MethodRouter<Api>,
    /// Its OpenAPI operation.
    pub(super) describe: fn() -> Value,
}

macro_rules! operations {
    ($($method:ident $path:literal: $handler:path, $describe:path;)*) => {
        /// All operations of the API.
        pub(super) const OPERATIONS: &[Operation] = &[$(Operation {
            method: stringify!($method),
            path: $path,
            handle: || $method($handler),
            describe: $describe,
        }),*];
    };
}

operations! {
    post "/api/groups": groups::create_group, describe::create_group;
    get "/api/groups/{groupId}/members": groups::list_members, describe::list_members;
    post "/api/groups/{groupId}/members": groups::add_members, describe::add_members;
    delete "/api/groups/{groupId}/members/{userId}": groups::remove_member, describe::remove_member;
    put "/api/groups/{groupId}/members/{userId}": groups::set_role, describe::set_role;
    get "/api/conversations": conversations::list, describe::list_conversations;
    get "/api/conversations/{conversationId}/messages": conversations::messages, describe::list_messages;
    put "/api/conversations/{conversationId}/read": conversations::mark_read, describe::mark_read;
    get "/api/config": session::config, describe::config;
    post "/api/dev/token": session::dev_token, describe::dev_token;
    get "/api/openapi.json": openapi::serve, describe::openapi;
}
