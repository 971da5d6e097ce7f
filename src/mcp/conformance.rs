//! What the official conformance suite wants a server to have, so that it has something to call. Only with the feature
//! `conformance`, which no release build takes.
//!
//! Each fixture is, before anything else, a call of `whoami`: admitted, within its caller's budget and on record like
//! any other. Only what is answered is the suite's own.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rmcp::ErrorData;
use rmcp::RoleServer;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    CompleteRequestParams, CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, InitializeRequestParams, InitializeResult, InputRequest, InputRequiredResult,
    InputResponses, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    MetaObject, PaginatedRequestParams, ProgressNotificationParam, Prompt, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Reference, Resource,
    ResourceTemplate, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{Handler, LIST_TTL_MS, Reply, meta, not_admitted, origin, protocol_error};

#[cfg(not(debug_assertions))]
compile_error!("the feature `conformance` is for the conformance suite, and in no build that is shipped");

/// One pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

/// One sample.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA==";

/// The tool that every fixture is a call of.
const CALLED: &str = "whoami";

/// How long the slow tool waits between its steps.
const STEP: Duration = Duration::from_millis(50);

const ELICITATION: &str = "test_input_required_result_elicitation";

/// The tools, each with what it is.
const TOOLS: [(&str, &str); 20] = [
    ("json_schema_2020_12_tool", "Has a schema with keywords of JSON Schema 2020-12"),
    ("test_audio_content", "Answers with a sound"),
    ("test_embedded_resource", "Answers with a resource"),
    ("test_error_handling", "Fails"),
    ("test_image_content", "Answers with a picture"),
    ("test_input_required_result_capabilities", "Asks for what the client can do"),
    (ELICITATION, "Asks for a name"),
    ("test_input_required_result_list_roots", "Asks for the roots"),
    ("test_input_required_result_multi_round", "Asks twice"),
    ("test_input_required_result_multiple_inputs", "Asks for three things at a time"),
    ("test_input_required_result_request_state", "Asks, and gives a state along"),
    ("test_input_required_result_sampling", "Asks the client's model"),
    ("test_input_required_result_tampered_state", "Asks, and gives a state along"),
    ("test_logging_tool", "Logs nothing: this server has no log for clients"),
    ("test_mirrored_argument", "Has an argument that is mirrored in a header"),
    ("test_missing_capability", "Needs a client that samples"),
    ("test_multiple_content_types", "Answers with text, a picture and a resource"),
    ("test_simple_text", "Answers with text"),
    ("test_streaming_elicitation", "Asks for a name"),
    ("test_tool_with_progress", "Tells how far it is"),
];

/// The handler as it is, and the fixtures.
pub struct WithFixtures {
    handler: Handler,
    /// What states are protected with; none where there is no randomness.
    key: Option<[u8; 32]>,
}

impl WithFixtures {
    pub(super) fn of(handler: Handler) -> Self {
        let mut key = [0; 32];
        let filled = getrandom::fill(&mut key).is_ok();
        Self { handler, key: filled.then_some(key) }
    }

    /// Passes everything that a call has to pass. Gives what its record is.
    async fn pass(
        &self,
        context: &RequestContext<RoleServer>,
        method: &str,
    ) -> Result<MetaObject, ErrorData> {
        let origin = origin(context, method)?;
        match self.handler.dispatcher.call(origin.call(CALLED, Map::new())).await {
            Reply::Done(_, receipt, _) => {
                Ok(meta(json!({ "request": origin.request, "seq": receipt.seq, "hash": receipt.hash })))
            }
            Reply::Failed(failure) | Reply::NotAdmitted(failure, _) => Err(protocol_error(&failure)),
            Reply::Planned(..) | Reply::NoSuchTool => Err(not_admitted()),
        }
    }

    /// The state for `step` of a tool, which nobody else can make: SEP-2322 wants it protected.
    fn state(&self, tool: &str, step: u8) -> Result<String, ErrorData> {
        let Some(key) = &self.key else {
            return Err(ErrorData::internal_error("There is no randomness", None));
        };
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(format!("{tool} {step}")).finalize();
        Ok(format!("{step}.{}", hex::encode(mac.into_bytes())))
    }

    /// The step that `state` says, if we said so.
    fn step(&self, tool: &str, state: Option<&str>) -> Result<u8, ErrorData> {
        let Some(state) = state else { return Ok(0) };
        for step in [1, 2] {
            if self.state(tool, step)? == state {
                return Ok(step);
            }
        }
        Err(ErrorData::invalid_params("requestState is none of ours", None))
    }

    /// What a tool answers that asks the client first, if it is one.
    fn asking(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Option<CallToolResponse>, ErrorData> {
        let tool = &*request.name;
        let said = Said(request.input_responses.as_ref());
        let step = self.step(tool, request.request_state.as_deref())?;
        let name = || ("user_name", form("What is your name?", "name", "string"));
        let greeting = || ("greeting", sample("Generate a greeting"));
        let roots = || ("client_roots", json!({ "method": "roots/list", "params": {} }));
        // What is asked, with which state; or what it came to.
        let (asked, state) = match tool {
            ELICITATION | "test_streaming_elicitation" => match said.name() {
                Some(name) => return done(&format!("Hello, {name}!")),
                None => (vec![name()], None),
            },
            "test_input_required_result_sampling" => {
                if said.has("capital_question", "content") {
                    return done("The model has answered.");
                }
                (vec![("capital_question", sample("What is the capital of France?"))], None)
            }
            "test_input_required_result_list_roots" => {
                if said.has("client_roots", "roots") {
                    return done(&format!("Roots: {}", said.of("client_roots")["roots"]));
                }
                (vec![roots()], None)
            }
            "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
                if step == 1 && said.accepts("confirm") {
                    return done("state-ok");
                }
                (vec![("confirm", form("Please confirm", "ok", "boolean"))], Some(1))
            }
            "test_input_required_result_multiple_inputs" => {
                let all = said.has("greeting", "content") && said.has("client_roots", "roots");
                if step == 1 && all && said.name().is_some() {
                    return done("All three are there.");
                }
                (vec![name(), greeting(), roots()], Some(1))
            }
            "test_input_required_result_multi_round" => match step {
                2 if said.accepts("step2") => return done("Both rounds are done."),
                0 | 1 if step == 0 || !said.accepts("step1") => {
                    (vec![("step1", form("What is your name?", "name", "string"))], Some(1))
                }
                _ => (vec![("step2", form("Your favorite color?", "color", "string"))], Some(2)),
            },
            "test_input_required_result_capabilities" => {
                let can = context.client_capabilities().unwrap_or_default();
                let asked = [can.sampling.is_some().then(greeting), can.elicitation.is_some().then(name)];
                let asked: Vec<_> = asked.into_iter().flatten().collect();
                if asked.is_empty() || !said.is_silent() {
                    return done("There is nothing to ask.");
                }
                (asked, None)
            }
            _ => return Ok(None),
        };
        let state = state.map(|step| self.state(tool, step)).transpose()?;
        inputs(asked, state).map(|result| Some(result.into()))
    }
}

/// What a tool answers at once.
fn answer(tool: &str, context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let picture = json!({ "type": "image", "data": PNG, "mimeType": "image/png" });
    let resource = json!({ "type": "resource", "resource": {
        "uri": "test://embedded", "mimeType": "text/plain", "text": "An embedded resource.",
    } });
    let blocks = match tool {
        "test_image_content" => json!([picture]),
        "test_audio_content" => json!([{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }]),
        "test_embedded_resource" => json!([resource]),
        "test_multiple_content_types" => {
            json!([text("Text, a picture and a resource:"), picture, resource])
        }
        "test_missing_capability" => {
            let samples = context.client_capabilities().is_some_and(|can| can.sampling.is_some());
            if !samples {
                let needed: ClientCapabilities = of(json!({ "sampling": {} }))?;
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            json!([text("The client samples.")])
        }
        _ => json!([text("This is a simple text response for testing.")]),
    };
    complete(json!({ "content": blocks, "isError": tool == "test_error_handling" }))
}

/// What the client's side answered.
#[derive(Clone, Copy)]
struct Said<'a>(Option<&'a InputResponses>);

impl Said<'_> {
    fn of(self, key: &str) -> Value {
        self.0.and_then(|said| said.get(key)).cloned().unwrap_or_default()
    }

    fn is_silent(self) -> bool {
        self.0.is_none_or(InputResponses::is_empty)
    }

    fn has(self, key: &str, member: &str) -> bool {
        self.of(key).get(member).is_some()
    }

    fn accepts(self, key: &str) -> bool {
        self.of(key)["action"] == "accept"
    }

    fn name(self) -> Option<String> {
        let name = self.of("user_name")["content"]["name"].as_str()?.to_owned();
        self.accepts("user_name").then_some(name)
    }
}

fn of<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// A result that is not one of several rounds.
fn complete<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    result["resultType"] = "complete".into();
    of(result)
}

fn done(text: &str) -> Result<Option<CallToolResponse>, ErrorData> {
    let result: CallToolResult = complete(json!({ "content": [{ "type": "text", "text": text }] }))?;
    Ok(Some(result.into()))
}

fn inputs(asked: Vec<(&str, Value)>, state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    let asked = asked.into_iter().map(|(key, ask)| Ok((key.to_owned(), of::<InputRequest>(ask)?)));
    Ok(InputRequiredResult::new(Some(asked.collect::<Result<_, ErrorData>>()?), state))
}

fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { field: { "type": kind } }, "required": [field] });
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": message, "requestedSchema": schema } })
}

fn sample(prompt: &str) -> Value {
    let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
    json!({ "method": "sampling/createMessage", "params": { "messages": [message], "maxTokens": 100 } })
}

/// The schema of a fixture's arguments.
fn schema(tool: &str) -> Value {
    match tool {
        "json_schema_2020_12_tool" => json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": { "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            } },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        }),
        "test_mirrored_argument" => json!({
            "type": "object",
            "properties": { "region": { "type": "string", "x-mcp-header": "Region" } },
        }),
        _ => json!({ "type": "object" }),
    }
}

fn tool((name, description): (&'static str, &'static str)) -> Option<Tool> {
    let Value::Object(schema) = schema(name) else { return None };
    Some(Tool::new(name, description, Arc::new(schema)))
}

fn prompts() -> Result<Vec<Prompt>, ErrorData> {
    let argument = |name: &str| json!({ "name": name, "description": "For testing", "required": true });
    of(json!([
        { "name": "test_input_required_result_prompt", "description": "Asks for context" },
        { "name": "test_prompt_with_arguments", "description": "Takes two", "arguments": [argument("arg1"), argument("arg2")] },
        { "name": "test_prompt_with_embedded_resource", "description": "Holds a resource", "arguments": [argument("resourceUri")] },
        { "name": "test_prompt_with_image", "description": "Holds a picture" },
        { "name": "test_simple_prompt", "description": "Text" },
    ]))
}

/// The messages of a prompt, or what has to be known first.
fn prompt(request: &GetPromptRequestParams) -> Result<Option<GetPromptResponse>, ErrorData> {
    let argument = |name: &str| -> Result<&str, ErrorData> {
        let given = request.arguments.as_ref().and_then(|given| given.get(name)?.as_str());
        given.ok_or_else(|| ErrorData::invalid_params(format!("{name}: is missing"), None))
    };
    let said = |content: Value| json!({ "role": "user", "content": content });
    let text = |text: &str| said(json!({ "type": "text", "text": text }));
    let messages = match request.name.as_str() {
        "test_simple_prompt" => json!([text("This is a simple prompt for testing.")]),
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1")?, argument("arg2")?);
            json!([text(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))])
        }
        "test_prompt_with_embedded_resource" => json!([
            said(json!({ "type": "resource", "resource": {
                "uri": argument("resourceUri")?, "mimeType": "text/plain", "text": "An embedded resource.",
            } })),
            text("Please process the resource above."),
        ]),
        "test_prompt_with_image" => json!([
            said(json!({ "type": "image", "data": PNG, "mimeType": "image/png" })),
            text("Please look at the picture above."),
        ]),
        "test_input_required_result_prompt" => {
            let known = Said(request.input_responses.as_ref());
            if !known.accepts("user_context") {
                let asked = form("What context should the prompt use?", "context", "string");
                return Ok(Some(inputs(vec![("user_context", asked)], None)?.into()));
            }
            json!([text(&format!("With this context: {}", known.of("user_context")["content"]["context"]))])
        }
        _ => return Ok(None),
    };
    Ok(Some(complete::<GetPromptResult>(json!({ "messages": messages }))?.into()))
}

fn resources() -> [Resource; 2] {
    [
        Resource::new("test://static-text", "A text").with_mime_type("text/plain"),
        Resource::new("test://static-binary", "A picture").with_mime_type("image/png"),
    ]
}

/// What a resource of the suite holds.
fn contents(uri: &str) -> Option<Value> {
    let mut held = match uri {
        "test://static-text" => json!({ "mimeType": "text/plain", "text": "A text that stays the same." }),
        "test://static-binary" => json!({ "mimeType": "image/png", "blob": PNG }),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            json!({ "mimeType": "application/json", "text": json!({ "id": id }).to_string() })
        }
    };
    held["uri"] = uri.into();
    Some(held)
}

impl ServerHandler for WithFixtures {
    fn get_info(&self) -> ServerConfig {
        self.handler.get_info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.handler.supported_protocol_versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        self.handler.initialize(request, context).await
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut listed = self.handler.list_tools(page, context).await?;
        listed.tools.extend(TOOLS.into_iter().filter_map(tool));
        Ok(listed)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.into_iter().find(|it| it.0 == name).and_then(tool)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.get_tool(&request.name).is_none() {
            return self.handler.call_tool(request, context).await;
        }
        let on_record = self.pass(&context, "tools/call").await?;
        if request.name == "test_tool_with_progress" {
            for done in [0.0, 50.0, 100.0] {
                if let Some(token) = context.meta.get_progress_token() {
                    let mut step = ProgressNotificationParam::new(token, done);
                    step.total = Some(100.0);
                    let _ = context.peer.notify_progress(step).await;
                }
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(match self.asking(&request, &context)? {
            Some(CallToolResponse::InputRequired(result)) => result.with_meta(on_record).into(),
            Some(response) => response,
            None => answer(&request.name, &context)?.with_meta(Some(on_record)).into(),
        })
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut listed = self.handler.list_resources(page, context).await?;
        listed.resources.extend(resources());
        Ok(listed)
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut listed = self.handler.list_resource_templates(page, context).await?;
        listed.resource_templates.push(ResourceTemplate::new("test://template/{id}/data", "Data of an id"));
        Ok(listed)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(contents) = contents(&request.uri) else {
            return self.handler.read_resource(request, context).await;
        };
        let on_record = self.pass(&context, "resources/read").await?;
        let result: ReadResourceResult = complete(json!({ "contents": [contents] }))?;
        let mut result = result.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private);
        result.meta = Some(on_record);
        Ok(result.into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.handler.accepted_subscription_filter(requested)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.handler.listen(context).await
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut listed = self.handler.list_prompts(page, context).await?;
        listed.prompts.extend(prompts()?);
        Ok(listed)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        match prompt(&request)? {
            Some(answer) => self.pass(&context, "prompts/get").await.map(|_| answer),
            None => self.handler.get_prompt(request, context).await,
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        match &request.r#ref {
            Reference::Prompt(prompt) if prompt.name == "test_prompt_with_arguments" => {
                self.pass(&context, "completion/complete").await?;
                Ok(CompleteResult::new(CompletionInfo::default()))
            }
            _ => self.handler.complete(request, context).await,
        }
    }
}
