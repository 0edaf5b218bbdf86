//! Groups and their members.

use super::{Api, Problem, User, id, limit, read};
use crate::groups::Role;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use protocol::event::Change;
use protocol::limits::{GROUP_MEMBERS_PER_CALL_MAX, GROUP_NAME_CHARS_MAX};
use protocol::{ConversationId, UnixMs, UserId};
use serde::Deserialize;
use serde_json::json;

/// Members in one answer.
const MEMBERS_LIMIT_MAX: u32 = 1_000;
const MEMBERS_LIMIT_DEFAULT: u32 = 100;

fn users(users: Vec<User>, field: &str) -> Result<Vec<UserId>, Problem> {
    if users.len() > GROUP_MEMBERS_PER_CALL_MAX {
        let got = users.len();
        return Err(Problem::invalid(format!(
            "{field} may name at most {GROUP_MEMBERS_PER_CALL_MAX} users a call, got {got}"
        )));
    }
    Ok(users.into_iter().map(|user| user.0).collect())
}

pub(super) async fn create_group(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Create {
        name: String,
        members: Vec<User>,
    }
    let caller = api.caller(&headers)?;
    let Create { name, members } = read(&body)?;
    let chars = name.chars().count();
    if !(1..=GROUP_NAME_CHARS_MAX).contains(&chars) {
        let detail = format!("name must be between 1 and {GROUP_NAME_CHARS_MAX} characters, got {chars}");
        return Err(Problem::invalid(detail));
    }
    let members = users(members, "members")?;
    let group = api.groups.lock().await.create(caller, &name, &members).await?;
    let conversation = ConversationId::Group(group);
    api.tell_change(conversation, Change::Added, [&[caller], &members[..]].concat()).await;
    let answer = json!({"groupId": group.to_string(), "conversationId": conversation});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list_members(
    State(api): State<Api>,
    Path(group): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = api.caller(&headers)?;
    let group = id(&group, "the group's id")?;
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let after = page.after.map(|after| id(&after, "after").map(UserId)).transpose()?;
    let limit = limit(page.limit, MEMBERS_LIMIT_DEFAULT, MEMBERS_LIMIT_MAX)?;
    let (members, has_more) = api.groups.lock().await.members(group, caller, after, limit).await?;
    let members: Vec<_> = members
        .iter()
        .map(|m| json!({"userId": m.user, "role": m.role.as_str(), "joinedAt": UnixMs(m.joined_at_ms)}))
        .collect();
    Ok(Json(json!({"members": members, "hasMore": has_more})).into_response())
}

pub(super) async fn add_members(
    State(api): State<Api>,
    Path(group): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Add {
        user_ids: Vec<User>,
    }
    let caller = api.caller(&headers)?;
    let group = id(&group, "the group's id")?;
    let Add { user_ids } = read(&body)?;
    let added = users(user_ids, "userIds")?;
    let added = api.groups.lock().await.add(group, caller, &added).await?;
    api.tell_change(ConversationId::Group(group), Change::Added, added).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_member(
    State(api): State<Api>,
    Path((group, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let caller = api.caller(&headers)?;
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    api.groups.lock().await.remove(group, caller, UserId(user)).await?;
    api.tell_change(ConversationId::Group(group), Change::Removed, vec![UserId(user)]).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn set_role(
    State(api): State<Api>,
    Path((group, user)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    struct Set {
        role: String,
    }
    let caller = api.caller(&headers)?;
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    let role = match read::<Set>(&body)?.role.as_str() {
        "admin" => Role::Admin,
        "member" => Role::Member,
        other => return Err(Problem::invalid(format!("role must be admin or member, got {other:?}"))),
    };
    api.groups.lock().await.set_role(group, caller, UserId(user), role).await?;
    Ok(StatusCode::NO_CONTENT)
}
