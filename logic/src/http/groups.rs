//! Groups and their members.

use super::Api;
use super::problem::Problem;
use super::request::{Body, Caller, InPath, InQuery, User, id, limit};
use crate::groups::Role;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::event::Change;
use protocol::limits::{
    GROUP_MEMBERS_PER_CALL_MAX, GROUP_NAME_CHARS_MAX, MEMBERS_PAGE_DEFAULT, MEMBERS_PAGE_MAX,
};
use protocol::{ConversationId, UnixMs, UserId};
use serde::Deserialize;
use serde_json::json;

fn users(users: Vec<User>, field: &str) -> Result<Vec<UserId>, Problem> {
    if users.len() > GROUP_MEMBERS_PER_CALL_MAX {
        let got = users.len();
        return Err(Problem::invalid(format!(
            "{field} may name at most {GROUP_MEMBERS_PER_CALL_MAX} users a call, got {got}"
        )));
    }
    Ok(users.into_iter().map(|user| user.0).collect())
}

#[derive(Deserialize)]
pub(super) struct NewGroup {
    name: String,
    members: Vec<User>,
}

pub(super) async fn create_group(
    Caller(caller): Caller,
    State(api): State<Api>,
    Body(NewGroup { name, members }): Body<NewGroup>,
) -> Result<Response, Problem> {
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
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath(group): InPath<String>,
    InQuery(page): InQuery<Page>,
) -> Result<Response, Problem> {
    let group = id(&group, "the group's id")?;
    let after = page.after.map(|after| id(&after, "after").map(UserId)).transpose()?;
    let limit = limit(page.limit, MEMBERS_PAGE_DEFAULT, MEMBERS_PAGE_MAX)?;
    let (members, has_more) = api.groups.lock().await.members(group, caller, after, limit).await?;
    let members: Vec<_> = members
        .iter()
        .map(|m| json!({"userId": m.user, "role": m.role.as_str(), "joinedAt": UnixMs(m.joined_at_ms)}))
        .collect();
    Ok(Json(json!({"members": members, "hasMore": has_more})).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewMembers {
    user_ids: Vec<User>,
}

pub(super) async fn add_members(
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath(group): InPath<String>,
    Body(NewMembers { user_ids }): Body<NewMembers>,
) -> Result<StatusCode, Problem> {
    let group = id(&group, "the group's id")?;
    let added = users(user_ids, "userIds")?;
    let added = api.groups.lock().await.add(group, caller, &added).await?;
    api.tell_change(ConversationId::Group(group), Change::Added, added).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_member(
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath((group, user)): InPath<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    api.groups.lock().await.remove(group, caller, UserId(user)).await?;
    api.tell_change(ConversationId::Group(group), Change::Removed, vec![UserId(user)]).await;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct NewRole {
    role: String,
}

pub(super) async fn set_role(
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath((group, user)): InPath<(String, String)>,
    Body(NewRole { role }): Body<NewRole>,
) -> Result<StatusCode, Problem> {
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    let role = match role.as_str() {
        "admin" => Role::Admin,
        "member" => Role::Member,
        other => return Err(Problem::invalid(format!("role must be admin or member, got {other:?}"))),
    };
    api.groups.lock().await.set_role(group, caller, UserId(user), role).await?;
    Ok(StatusCode::NO_CONTENT)
}
