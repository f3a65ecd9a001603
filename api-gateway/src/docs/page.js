// Renders /openapi.json: an index, one panel per operation with its parameters, schemas and answers, and a form
// that tries it. Text goes into the page as text nodes only, so nothing in the document can become markup.
"use strict";

const EXAMPLE_DEPTH = 5;
const METHODS = ["get", "post", "put", "patch", "delete"];
let api;

function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function resolved(thing) {
  let target = thing ?? {};
  while (target.$ref) {
    target = target.$ref.slice(2).split("/").reduce((at, key) => at?.[key], api) ?? {};
  }
  return target;
}

function typeName(schema) {
  const own = resolved(schema);
  const short = schema?.$ref?.split(/[/.]/).pop();
  if (own.type === "array") return `list of ${typeName(own.items)}`;
  if (own.additionalProperties) return `map to ${typeName(own.additionalProperties)}`;
  if (own.enum) return short ?? "one of a list";
  if (own.contentEncoding) return own.contentEncoding;
  return short ?? [own.type ?? "any", own.format].filter(Boolean).join(" · ");
}

function inner(schema) {
  const own = resolved(schema);
  if (own.type === "array") return inner(own.items);
  if (own.additionalProperties) return inner(own.additionalProperties);
  return own.properties || own.enum ? own : null;
}

// The fields of a schema. Those of inner messages are made when they are opened: schemas may contain themselves.
function fieldList(schema) {
  const own = resolved(schema);
  if (own.enum) return element("p", { className: "soft" }, own.enum.join(", "));
  const items = Object.entries(own.properties ?? {}).map(([name, field]) => {
    const label = [element("code", {}, name), " ", element("small", {}, typeName(field))];
    const about = field.description ? element("div", { className: "soft text" }, field.description) : null;
    if (!inner(field)) return element("li", {}, ...label, about);
    const details = element("details", {}, element("summary", {}, ...label));
    details.addEventListener("toggle", () => details.append(fieldList(inner(field))), { once: true });
    return element("li", {}, details, about);
  });
  return element("ul", { className: "fields" }, ...items);
}

function schemaBlock(schema) {
  const own = inner(schema) ?? resolved(schema);
  const about = own.description ? element("p", { className: "soft text" }, own.description) : null;
  return element("div", {}, element("p", {}, element("small", {}, typeName(schema))), about, own.properties || own.enum ? fieldList(own) : null);
}

function example(schema, depth = 0) {
  const own = resolved(schema);
  if (own.examples) return own.examples[0];
  if (own.enum) return own.enum.find((name) => !name.endsWith("_UNSPECIFIED")) ?? own.enum[0];
  if (own.type === "array") return depth < EXAMPLE_DEPTH ? [example(own.items, depth + 1)] : [];
  if (own.additionalProperties) return {};
  if (own.type === "object") {
    if (depth >= EXAMPLE_DEPTH) return {};
    const beside = new Set((own["x-oneofs"] ?? []).flatMap((members) => members.slice(1)));
    const fields = Object.entries(own.properties ?? {}).filter(([name]) => !beside.has(name));
    return Object.fromEntries(fields.map(([name, field]) => [name, example(field, depth + 1)]));
  }
  if (own.type === "boolean") return false;
  if (own.type === "integer" || own.type === "number") return 0;
  if (own.format === "date-time") return new Date().toISOString();
  return own.format === "int64" || own.format === "uint64" ? "0" : "";
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parameterTable(parameters) {
  const rows = parameters.map((parameter) => element("tr", {},
    element("td", {}, element("code", {}, parameter.name), parameter.required ? element("small", {}, " required") : null),
    element("td", {}, parameter.in),
    element("td", {}, typeName(parameter.schema)),
    element("td", { className: "text" }, parameter.description ?? "")));
  const head = ["Name", "In", "Type", "Meaning"].map((name) => element("th", { scope: "col" }, name));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function control(parameter) {
  const schema = resolved(parameter.schema);
  const choices = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  if (choices) return element("select", {}, ...["", ...choices].map((value) => element("option", { value }, value)));
  if (schema.type === "array") return element("textarea", { placeholder: "one value a line", rows: 2 });
  const value = parameter.name === "Idempotency-Key" ? randomKey() : "";
  return element("input", { value, required: Boolean(parameter.required), autocomplete: "off", spellcheck: false });
}

// What the form asks for, as arguments of fetch.
function requestOf(path, method, fields, body, stream) {
  let target = path;
  const query = new URLSearchParams();
  const headers = { Accept: stream ? "text/event-stream" : "application/json" };
  for (const { parameter, input } of fields) {
    const values = input.tagName === "TEXTAREA" ? input.value.split("\n").map((line) => line.trim()).filter(Boolean) : [input.value];
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (parameter.in === "query") values.forEach((value) => query.append(parameter.name, value));
    else headers[parameter.name] = input.value;
  }
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { method: method.toUpperCase(), headers };
  if (body && body.value.trim() !== "") {
    headers["Content-Type"] = "application/json";
    options.body = body.value;
  }
  const text = query.toString();
  return { url: text ? `${target}?${text}` : target, options };
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curlOf({ url, options }, stream) {
  const pieces = [`curl ${stream ? "-N" : "-i"} -X ${options.method} ${quoted(location.origin + url)}`];
  for (const [name, value] of Object.entries(options.headers)) {
    pieces.push(name === "Authorization" ? `-H "Authorization: Bearer $TOKEN"` : `-H ${quoted(`${name}: ${value}`)}`);
  }
  if (options.body) pieces.push(`-d ${quoted(options.body)}`);
  return pieces.join(" \\\n  ");
}

async function show(response, output) {
  const heads = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  output.textContent = `${response.status} ${response.statusText}\n${heads}\n\n`;
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) output.append(piece.value);
    return;
  }
  const text = await response.text();
  try {
    output.append(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    output.append(text);
  }
}

function tryForm(path, method, operation, stream) {
  const fields = (operation.parameters ?? []).map((parameter) => ({ parameter, input: control(parameter) }));
  const bodySchema = operation.requestBody?.content["application/json"].schema;
  const body = bodySchema ? element("textarea", { className: "body", spellcheck: false, value: JSON.stringify(example(bodySchema), null, 2) }) : null;
  const output = element("pre", { hidden: true, "aria-live": "polite", tabIndex: 0 });
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const curl = element("button", { type: "button", onclick: () => {
    output.hidden = false;
    output.textContent = curlOf(requestOf(path, method, fields, body, stream), stream);
  } }, "As curl");
  const send = async (event) => {
    event.preventDefault();
    const { url, options } = requestOf(path, method, fields, body, stream);
    const abort = new AbortController();
    stop.onclick = () => abort.abort();
    stop.hidden = output.hidden = false;
    output.textContent = "…";
    try {
      await show(await fetch(url, { ...options, signal: abort.signal, cache: "no-store" }), output);
    } catch (error) {
      output.append(abort.signal.aborted ? "\n(stopped)" : `\n${error}`);
    }
    stop.hidden = true;
  };
  const labels = fields.map(({ parameter, input }) => element("label", {}, `${parameter.name} (${parameter.in})`, input));
  return element("form", { onsubmit: send }, ...labels,
    body ? element("label", { className: "wide" }, "Body", body) : null,
    element("button", { className: "go" }, "Send"), curl, stop, output);
}

function answerList(operation) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const own = resolved(answer);
    const [kind, content] = Object.entries(own.content ?? {})[0] ?? [];
    const row = element("tr", {}, element("td", {}, element("code", {}, status)), element("td", {}, own.description));
    const cell = element("td", {}, kind ? element("small", {}, kind) : null);
    const schema = content?.schema?.contentSchema ?? content?.schema;
    if (schema && !answer.$ref) cell.append(schemaBlock(schema));
    row.append(cell);
    return row;
  });
  const head = ["Status", "Meaning", "Content"].map((name) => element("th", { scope: "col" }, name));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function needs(operation) {
  const schemes = (operation.security ?? []).flatMap((choice) => Object.keys(choice));
  return schemes.length ? schemes.join(" or ") : "public";
}

function fill(panel, path, method, operation) {
  const stream = Boolean(resolved(operation.responses["200"]).content?.["text/event-stream"]);
  const parameters = operation.parameters ?? [];
  const body = operation.requestBody?.content["application/json"].schema;
  panel.append(element("div", {},
    operation.description ? element("p", { className: "text" }, operation.description) : null,
    element("p", {}, element("small", {}, `gRPC: ${operation["x-grpc-method"]}`)),
    ...(parameters.length ? [element("h3", {}, "Parameters"), parameterTable(parameters)] : []),
    ...(body ? [element("h3", {}, "Body"), schemaBlock(body)] : []),
    element("h3", {}, "Answers"), answerList(operation),
    element("h3", {}, "Try it"), tryForm(path, method, operation, stream)));
}

function panelOf(path, method, operation) {
  const panel = element("details", { className: "operation", id: operation.operationId },
    element("summary", {},
      element("span", { className: `method ${method}` }, method.toUpperCase()),
      element("span", { className: "path" }, path),
      element("span", { className: "tag" }, needs(operation)),
      operation.deprecated ? element("span", { className: "tag" }, "deprecated") : null,
      element("span", { className: "soft" }, operation.summary ?? "")));
  panel.dataset.text = `${method} ${path} ${operation.operationId} ${operation.description ?? ""}`.toLowerCase();
  panel.addEventListener("toggle", () => fill(panel, path, method, operation), { once: true });
  return panel;
}

function render() {
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
  const main = document.getElementById("operations");
  const index = document.getElementById("index");
  document.title = `${api.info.title} API`;
  document.getElementById("title").replaceChildren(`${api.info.title} API `, element("small", {}, api.info.version));
  main.replaceChildren();
  for (const tag of api.tags) {
    const own = operations.filter(({ operation }) => operation.tags.includes(tag.name));
    const links = own.map(({ path, method, operation }) => element("li", {},
      element("a", { href: `#${operation.operationId}` }, element("span", { className: `method ${method}` }, method.toUpperCase()), path)));
    index.append(element("section", {}, element("h2", {}, tag.name), element("ul", {}, ...links)));
    main.append(element("section", {}, element("h2", {}, tag.name),
      tag.description ? element("p", { className: "soft text" }, tag.description) : null,
      ...own.map(({ path, method, operation }) => panelOf(path, method, operation))));
  }
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const panel of document.querySelectorAll(".operation")) {
    panel.hidden = !words.every((word) => panel.dataset.text.includes(word));
    document.querySelector(`nav a[href="#${panel.id}"]`).parentElement.hidden = panel.hidden;
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = ![...section.querySelectorAll(".operation, li")].some((item) => !item.hidden);
  }
}

function openLinked() {
  const panel = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (panel?.classList.contains("operation")) {
    panel.open = true;
    panel.scrollIntoView();
  }
}

async function start() {
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    api = await response.json();
  } catch (error) {
    document.getElementById("status").textContent = `The document could not be loaded: ${error.message}`;
    return;
  }
  render();
  document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
  addEventListener("hashchange", openLinked);
  openLinked();
}

start();
