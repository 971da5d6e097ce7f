//! `auth.*` and what a session may do to itself.

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::accounts::{Key, Roles};
use crate::nas::jobs::date;
use crate::nas::params::{Kind, Param, QUERY, check_login, optional, required};
use crate::nas::scram::{self, Exchange};
use crate::nas::session::Login;
use crate::nas::state::{Level, State};
use crate::nas::wire::{EACCES, EINVAL, EOPNOTSUPP, Failure};
use crate::nas::{CANARY, Generation, random_text};

const LOGIN: &[Param] = &[required("login_data", Kind::Open(&[required("mechanism", Kind::Str)]))];
const NEW_KEY: &[Param] = &[required(
    "api_key_create",
    Kind::Model(&[
        required("name", Kind::Name),
        required("username", Kind::Name),
        optional("expires_at", Kind::NullOr(&Kind::Dict)),
    ]),
)];
const API_KEY: &[Param] = &[required("api_key", Kind::Str)];

pub(super) const METHODS: &[Method] = &[
    method("auth.login_ex", Access::Anyone, LOGIN, login_ex),
    method("auth.login_with_api_key", Access::Anyone, API_KEY, login_with_api_key),
    method("auth.mechanism_choices", Access::Anyone, &[], mechanism_choices),
    method("auth.me", Access::Session, &[], me),
    method("auth.logout", Access::Session, &[], logout),
    method("api_key.query", Access::Role("API_KEY_READ"), QUERY, keys),
    method("api_key.create", Access::Role("READONLY_ADMIN"), NEW_KEY, create_key),
    method("privilege.become_readonly", Access::Role("READONLY_ADMIN"), &[], become_readonly)
        .since(Generation::V26),
];

fn login_ex(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let data = context.args.get(0).clone();
    if let Err(failure) = check_login(generation, &data) {
        context.session.authenticator_stuck = generation == Generation::V25_04;
        return Err(failure);
    }
    if context.session.authenticator_stuck {
        let reason = "AUTH: unexpected authenticator run state. Expected: START";
        return Err(Failure::exception("RuntimeError", reason));
    }
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let half = context.session.scram.take();
    let half_in = context.session.half_in.take();
    let verdict = match text("mechanism").as_str() {
        "SCRAM" => return Ok(Answer::Value(by_scram(context, half, &text("scram_type"), &text("rfc_str")))),
        "API_KEY_PLAIN" => authenticate(context, Some(&text("username")), &text("api_key")),
        "PASSWORD_PLAIN" => by_password(context, &text("username"), &text("password")),
        "OTP_TOKEN" => match half_in {
            Some(username) => by_second_factor(context, &username, &text("otp_token")),
            None => return Err(Failure::call(EINVAL, "OTP authentication is not currently in progress")),
        },
        // There are none.
        "TOKEN_PLAIN" => Verdict::Wrong,
        other => {
            return Err(Failure::call(EOPNOTSUPP, format!("{other}: mechanism is not supported")));
        }
    };
    Ok(Answer::Value(match verdict {
        Verdict::Right(login) => {
            let info =
                (data["login_options"]["user_info"] != false).then(|| user_info(context.state, &login));
            context.session.login = Some(login);
            let mut answer =
                json!({"response_type": "SUCCESS", "user_info": info, "authenticator": "LEVEL_1"});
            if generation >= Generation::V26 {
                answer["reconnect_token"] = Value::Null;
            }
            answer
        }
        Verdict::Wrong => {
            context.session.authenticator_stuck = generation == Generation::V25_04;
            json!({"response_type": "AUTH_ERR"})
        }
        Verdict::Expired => json!({"response_type": "EXPIRED"}),
        Verdict::WantsMore(username) => {
            let answer = json!({"response_type": "OTP_REQUIRED", "username": username});
            context.session.half_in = Some(username);
            answer
        }
    }))
}

fn login_with_api_key(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let key = context.args.str(0).to_owned();
    let verdict = authenticate(context, None, &key);
    let right = if let Verdict::Right(login) = verdict {
        context.session.login = Some(login);
        true
    } else {
        false
    };
    Ok(Answer::Value(right.into()))
}

/// Either half of a login by SCRAM. Whatever is wrong, the answer is the same.
fn by_scram(context: &mut Context<'_>, half: Option<Exchange>, scram_type: &str, text: &str) -> Value {
    let answer = |kind: &str, text: &str, info: Value| json!({"response_type": "SCRAM_RESPONSE", "scram_type": kind, "rfc_str": text, "user_info": info});
    let refused = json!({"response_type": "AUTH_ERR"});
    let now = context.state.now();
    let usable = |key: &Key| !key.revoked && key.expires.is_none_or(|expires| expires > now);
    if scram_type == "CLIENT_FIRST_MESSAGE" {
        let Some((user, number)) = scram::named(text) else { return refused };
        let mut accounts = context.state.accounts.iter().filter(|account| account.username == user);
        let key =
            accounts.find_map(|account| account.keys.iter().find(|key| key.id == number && usable(key)));
        let Some(key) = key else { return refused };
        let rounds = context.state.pace.scram_rounds;
        let Some(begun) = Exchange::begin(text, &key.secret, &key.salt, rounds, context.encrypted) else {
            return refused;
        };
        let challenge = answer("SERVER_FIRST_RESPONSE", begun.challenge(), Value::Null);
        context.session.scram = Some(begun);
        return challenge;
    }
    let Some(half) = half else { return refused };
    let Some(signature) = half.finish(text, context.end_point) else { return refused };
    let owner = context.state.accounts.iter().find_map(|account| {
        let key = account.keys.iter().find(|key| key.id == half.key && usable(key))?;
        Some(Login { username: account.username.clone(), key: Some(key.id), roles: account.roles.clone() })
    });
    let Some(login) = owner else { return refused };
    let info = user_info(context.state, &login);
    context.session.login = Some(login);
    answer("SERVER_FINAL_RESPONSE", &signature, info)
}

enum Verdict {
    Right(Login),
    Wrong,
    Expired,
    /// A second factor, of the user with this name.
    WantsMore(String),
}

fn by_password(context: &Context<'_>, username: &str, given: &str) -> Verdict {
    let mut accounts = context.state.accounts.iter();
    match accounts.find(|account| account.username == username && account.password.as_deref() == Some(given))
    {
        Some(account) if account.second_factor.is_some() => Verdict::WantsMore(username.to_owned()),
        // Who may do nothing cannot log in to the API.
        Some(account) if !account.roles.is_empty() => {
            Verdict::Right(Login { username: username.to_owned(), key: None, roles: account.roles.clone() })
        }
        _ => Verdict::Wrong,
    }
}

fn by_second_factor(context: &Context<'_>, username: &str, given: &str) -> Verdict {
    let mut accounts = context.state.accounts.iter();
    match accounts
        .find(|account| account.username == username && account.second_factor.as_deref() == Some(given))
    {
        Some(account) => {
            Verdict::Right(Login { username: username.to_owned(), key: None, roles: account.roles.clone() })
        }
        None => Verdict::Wrong,
    }
}

/// A right key that came over an insecure transport is revoked, and for good: it may have been read.
fn authenticate(context: &mut Context<'_>, username: Option<&str>, given: &str) -> Verdict {
    let now = context.state.now();
    let secure = context.encrypted || !context.state.pace.plain_loopback_is_insecure;
    let found = context
        .state
        .accounts
        .iter_mut()
        .filter(|account| username.is_none_or(|username| account.username == username))
        .flat_map(|account| account.keys.iter_mut().map(|key| (&account.username, &account.roles, key)))
        .find(|(_, _, key)| format!("{}-{}", key.id, key.secret) == given);
    let Some((username, roles, key)) = found else { return Verdict::Wrong };
    let expired = key.expires.is_some_and(|expires| expires <= now);
    if key.revoked || expired {
        // Which of the two is said of a revoked key follows 26; what 25.x says is not known.
        return if key.expires.is_some() { Verdict::Expired } else { Verdict::Wrong };
    }
    if secure {
        return Verdict::Right(Login { username: username.clone(), key: Some(key.id), roles: roles.clone() });
    }
    key.revoked = true;
    let text =
        format!("{username}: API key has been revoked because it was used over an insecure transport.");
    context.state.raise_alert("ApiKeyRevoked", Level::Warning, &text);
    Verdict::Expired
}

fn mechanism_choices(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let mut choices = vec!["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN"];
    if context.generation() < Generation::V26 && context.session.login.is_none() {
        let reason = "'NoneType' object has no attribute 'may_create_auth_token'";
        return Err(Failure::exception("AttributeError", reason));
    }
    if context.generation() >= Generation::V26 && context.state.pace.scram {
        choices.push("SCRAM");
    }
    Ok(Answer::Value(json!(choices)))
}

fn me(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let login = context.login()?;
    Ok(Answer::Value(user_info(context.state, login)))
}

fn logout(context: &mut Context<'_>) -> Result<Answer, Failure> {
    context.session.login = None;
    let connection = context.session.connection;
    context.state.listeners.retain(|listener| listener.connection != connection);
    Ok(Answer::Value(true.into()))
}

fn become_readonly(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let login = context.session.login.as_mut().ok_or_else(Failure::unauthorized)?;
    login.roles = Roles::new(&["READONLY_ADMIN"]);
    Ok(Answer::Value(Value::Null))
}

fn keys(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let accounts = context.state.accounts.iter();
    let keys = accounts.flat_map(|account| account.keys.iter().map(|key| (&account.username, key)));
    let rows = keys.map(|(username, key)| key_row(username, key, generation, context.state));
    context.query(rows.collect())
}

fn create_key(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let generation = context.generation();
    let new = context.args.get(0).clone();
    let text = |name: &str| new[name].as_str().unwrap_or_default();
    let login = context.login()?;
    if login.username != text("username") && !login.roles.allow("API_KEY_WRITE") {
        let words = "authenticated user lacks privileges to create or modify API keys of other users.";
        return Err(Failure::call(EACCES, format!("{}: {words}", login.username)));
    }
    let state = &mut *context.state;
    let keys = state.accounts.iter().flat_map(|account| &account.keys);
    if keys.clone().any(|key| key.name.as_deref() == Some(text("name"))) {
        return Err(Failure::invalid("api_key_create", "name must be unique"));
    }
    let id = 1 + keys.map(|key| key.id).max().unwrap_or(0);
    let Some(account) = state.accounts.iter_mut().find(|account| account.username == text("username")) else {
        return Err(Failure::invalid("api_key_create", "User does not exist."));
    };
    if account.roles.is_empty() {
        return Err(Failure::invalid("api_key_create", "User lacks privilege role membership."));
    }
    let secret = random_text(64);
    let key = Key { name: Some(text("name").to_owned()), ..Key::new(id, secret.clone()) };
    account.keys.push(key.clone());
    let mut row = key_row(text("username"), &key, generation, state);
    row["key"] = format!("{id}-{secret}").into();
    if generation >= Generation::V26 {
        row["client_key"] = CANARY.into();
    }
    Ok(Answer::Value(row))
}

fn key_row(username: &str, key: &Key, generation: Generation, state: &State) -> Value {
    let mut row = json!({
        "id": key.id,
        "name": key.name.as_deref().unwrap_or(username),
        "username": username,
        "user_identifier": 3000 + key.id,
        "created_at": date(chrono::DateTime::UNIX_EPOCH),
        "expires_at": key.expires.map(date),
        "local": true,
        "revoked": key.revoked,
    });
    if generation >= Generation::V25_10 {
        row["revoked_reason"] = Value::Null;
    }
    if generation >= Generation::V26 {
        row["iterations"] = state.pace.scram_rounds.into();
        for field in ["salt", "stored_key", "server_key"] {
            row[field] = CANARY.into();
        }
    } else {
        row["keyhash"] = CANARY.into();
    }
    row
}

fn user_info(state: &State, login: &Login) -> Value {
    let user = state.users.iter().find(|user| user.username == login.username);
    let uid = user.map_or(3000 + login.key.unwrap_or_default(), |user| user.uid);
    json!({
        "pw_name": login.username,
        "pw_gecos": user.map_or(login.username.as_str(), |user| user.full_name.as_str()),
        "pw_dir": "/var/empty",
        "pw_shell": "/usr/sbin/nologin",
        "pw_uid": uid,
        "pw_gid": uid,
        "grouplist": null,
        "sid": null,
        "source": "LOCAL",
        "local": true,
        "attributes": {},
        "two_factor_config": {"secret_configured": false},
        "privilege": {
            "roles": {"$set": login.roles.names().collect::<Vec<_>>()},
            "allowlist": [],
            "web_shell": false,
            "webui_access": true,
        },
        "account_attributes": ["LOCAL", "API_KEY"],
    })
}
