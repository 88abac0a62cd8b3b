// The page: sends the prompt to /v1/completions and shows the text as it comes.
// No library and nothing from elsewhere; the text is only ever set as text, never as HTML.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("form");
const prompt = find("prompt");
let running = null; // the AbortController of the request in progress

function say(text, bad = false) {
  find("status").textContent = text;
  find("status").classList.toggle("bad", bad);
}

function setBusy(busy) {
  find("go").disabled = busy;
  find("stop").disabled = !busy;
  find("more").disabled = busy || !find("made").textContent;
}

function request(text) {
  const body = { prompt: text, stream: true, stream_options: { include_usage: true } };
  // A prompt longer than the model can see is read from its end.
  body.truncate_prompt_tokens = -1;
  for (const input of form.querySelectorAll("input")) {
    if (input.value === "") continue;
    body[input.name] = input.type === "number" ? Number(input.value) : input.value;
  }
  return body;
}

// The JSON objects of a stream of server-sent events.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const event of whole) {
      if (!event.startsWith("data: ")) continue;
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function send(text) {
  if (running) return;
  const abort = new AbortController();
  running = abort;
  find("given").textContent = text;
  find("made").textContent = "";
  setBusy(true);
  say("Waiting for the first token…");
  const began = performance.now();
  let first = null;
  let finish = null;
  let usage = null;
  try {
    const response = await fetch("v1/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request(text)),
      signal: abort.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage ?? usage;
      for (const choice of event.choices) {
        first ??= performance.now();
        finish = choice.finish_reason ?? finish;
        find("made").append(choice.text);
      }
      if (!finish) say("Writing…");
    }
    const seconds = (performance.now() - began) / 1000;
    const tokens = usage ? usage.completion_tokens : 0;
    const why = finish === "stop" ? "; the text ended" : "";
    say(`${tokens} tokens in ${seconds.toFixed(2)} s, the first after ` +
        `${Math.round((first ?? began) - began)} ms${why}`);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped.");
    else say(error.message || String(error), true);
  } finally {
    running = null;
    setBusy(false);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.reportValidity()) send(prompt.value);
});
find("stop").addEventListener("click", () => running?.abort());
find("more").addEventListener("click", () => {
  prompt.value = find("given").textContent + find("made").textContent;
  if (form.reportValidity()) send(prompt.value);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

fetch("v1/models")
  .then((response) => response.json())
  .then(({ data: [model] }) => {
    const size = new Intl.NumberFormat("en").format(model.parameters);
    find("model").textContent =
      `${model.id}: ${size} parameters, sees ${model.max_model_len} tokens at once`;
  })
  .catch(() => say("The server does not answer.", true));
