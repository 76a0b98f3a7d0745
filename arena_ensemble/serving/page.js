"use strict";
// Every text is written with textContent: nothing that a person pastes is ever read as markup.
const $ = (id) => document.getElementById(id);
const percent = (p) => (100 * p).toFixed(1) + " %";
const signed = (x, digits = 3) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
const three = (c) => percent(c.a) + " / " + percent(c.tie) + " / " + percent(c.b);
const FIELDS = ["prompt", "response_a", "response_b"];
let asked = 0;
let limit = null; // bytes of a request that the server takes

const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1) + " MB";

function tooLong(bytes) {
  const most = limit === null ? "" : "; this server takes " + megabytes(limit);
  return "These texts are too long: " + megabytes(bytes) + " together" + most
    + ". Shorten them, or start the server with a larger --max-bytes.";
}

async function call(path, body) {
  const headers = {}, text = body && JSON.stringify(body), bytes = body ? new Blob([text]).size : 0;
  if (limit !== null && bytes > limit) throw new Error(tooLong(bytes));
  if ($("token").value) headers.Authorization = "Bearer " + $("token").value;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method: body ? "POST" : "GET", headers, body: text, credentials: "omit",
  });
  const found = await answer.json().catch(() => null);
  if (answer.status === 401) $("token-row").hidden = false;
  if (answer.status === 413) throw new Error(tooLong(bytes));
  if (!answer.ok) throw new Error(found && found.error ? found.error.message : "the server answered " + answer.status);
  return found;
}

function cell(row, text, kind, name) {
  const made = document.createElement(name || "td");
  made.textContent = text;
  if (kind) made.className = kind;
  if (name === "th") made.scope = "row";
  row.append(made);
  return made;
}

function bar(place, value, widest) {
  const track = document.createElement("div"), mark = document.createElement("span");
  track.className = "track";
  mark.className = value > 0 ? "a" : "b";
  mark.style.width = (50 * Math.abs(value) / widest).toFixed(2) + "%";
  track.append(mark);
  place.append(track);
}

function show(found) {
  const why = found.explanation;
  const best = [["A", found.a], ["B", found.b], ["A tie", found.tie]].sort((x, y) => y[1] - x[1])[0];
  $("verdict").textContent = best[0] === "A tie"
    ? "A tie is likeliest: " + percent(best[1]) : "Most would prefer " + best[0] + ": " + percent(best[1]);
  if (best[1] < 0.5 && best[0] !== "A tie") $("verdict").textContent = best[0] + " is likeliest: " + percent(best[1]);
  for (const name of ["a", "tie", "b"]) {
    $("p-" + name).textContent = percent(found[name]);
    document.querySelector("#bar ." + name).style.width = 100 * found[name] + "%";
  }
  $("level").textContent = "A " + percent(why.level.a) + ", tie " + percent(why.level.tie) + ", B " + percent(why.level.b);
  const other = why.exchanged;
  const apart = other && Math.max(...["a", "b", "tie"].map((name) => Math.abs(other[name] - found[name])));
  $("exchanged").textContent = !other ? "not known"
    : apart < 5e-4 ? "the same verdict: no position bias"
    : "A " + percent(other.a) + ", tie " + percent(other.tie) + ", B " + percent(other.b) + " (" + percent(apart) + " apart)";
  const rows = why.members.map((one) => [one.name, one.delta, one.tau, three(one.chances)]);
  for (const [name, part] of [["length, beside members", why.length], ["format, beside members", why.format],
    ["prompt and likeness, beside members", why.prompt], ["what was shown first", why.order], ["left over", why.rest]]) {
    if (Math.abs(part.delta) >= 5e-4 || Math.abs(part.tau) >= 5e-4) rows.push([name, part.delta, part.tau, ""]);
  }
  rows.push(["how common ties are", 0, why.constant, ""]);
  const widest = Math.max(1e-9, Math.abs(why.delta), ...rows.map((row) => Math.abs(row[1])));
  rows.push(["sum", why.delta, why.tau === null ? 0 : why.tau, three(found)]);
  const body = document.querySelector("#parts tbody");
  body.replaceChildren();
  rows.forEach(([name, delta, tau, alone], place) => {
    const row = document.createElement("tr");
    if (place === rows.length - 1) row.className = "sum";
    cell(row, name, "", "th");
    cell(row, name === "how common ties are" ? "" : signed(delta), "number");
    bar(cell(row, "", "middle"), delta, widest);
    cell(row, why.tau === null ? "" : signed(tau), "number");
    cell(row, alone, "number alone");
    body.append(row);
  });
  const words = $("words");
  words.replaceChildren();
  for (const member of why.members) {
    for (const [side, sign] of [["A", 1], ["B", -1]]) {
      const found = member.words.filter((one) => one.delta * sign >= 0.01).slice(0, 8);
      if (!found.length) continue;
      const name = document.createElement("dt"), list = document.createElement("dd");
      name.textContent = member.name + ", words that count for " + side;
      name.className = side.toLowerCase();
      for (const one of found) {
        const word = document.createElement("span");
        word.textContent = one.term + " " + signed(one.delta, 2);
        list.append(word, " ");
      }
      words.append(name, list);
    }
  }
  const top = why.features.filter((one) => Math.abs(one.delta) >= 5e-4).slice(0, 5);
  $("features").textContent = top.length
    ? "Largest features (above 0 is for A): " + top.map((one) => one.name + " " + signed(one.delta)).join(", ") : "";
  const near = document.querySelector("#nearest tbody");
  near.replaceChildren();
  $("nearest-box").hidden = !why.nearest.length;
  for (const one of why.nearest) {
    const row = document.createElement("tr");
    cell(row, one.vote || "none");
    cell(row, one.similarity.toFixed(2), "number");
    cell(row, one.prompt);
    near.append(row);
  }
  $("result").hidden = false;
}

async function compare() {
  const mine = ++asked;
  $("go").disabled = true;
  $("error").hidden = true;
  try {
    const battle = Object.fromEntries(FIELDS.map((name) => [name, $(name).value]));
    const found = await call("/v1/preferences", { battles: [battle], explain: true });
    if (mine === asked) show(found.preferences[0]);
  } catch (error) {
    if (mine !== asked) return;
    $("result").hidden = true;
    $("error").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
    $("error").hidden = false;
  } finally {
    if (mine === asked) $("go").disabled = false;
  }
}

async function introduce() {
  try {
    const model = await call("/v1/model");
    limit = model.max_bytes;
    $("model").textContent = model.members.length + (model.members.length === 1 ? " member (" : " members (")
      + model.members.map((one) => one.name).join(", ") + "), fitted on " + model.rows.toLocaleString("en")
      + " battles, log-loss " + model.log_loss.toFixed(4) + " out of fold";
  } catch (error) {
    $("model").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
  }
}

document.addEventListener("DOMContentLoaded", () => {
  introduce();
  $("form").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
  $("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("form").requestSubmit(); }
  });
  $("token").addEventListener("change", introduce);
  $("exchange").addEventListener("click", () => {
    const a = $("response_a").value;
    $("response_a").value = $("response_b").value;
    $("response_b").value = a;
    if (!$("result").hidden) $("form").requestSubmit();
  });
  $("example").addEventListener("click", () => {
    $("prompt").value = "What is the capital of Australia?";
    $("response_a").value = "The capital of Australia is **Canberra**. It was chosen in 1908 as a compromise between "
      + "Sydney and Melbourne.";
    $("response_b").value = "Sydney.";
    $("form").requestSubmit();
  });
});
