// What the console cannot do without a script: talk to an authenticator, copy, keep what was typed, and follow what runs.
"use strict";
(() => {
  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0));
  };
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // Under what something that was typed is kept.
  const kept = (name) => `${location.pathname}#${name}`;

  const post = async (url, body) => {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      redirect: "error",
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.error_description || "The server did not take it.");
    return said;
  };

  const create = async ({ publicKey }) => {
    publicKey.challenge = bytes(publicKey.challenge);
    publicKey.user.id = bytes(publicKey.user.id);
    for (const known of publicKey.excludeCredentials || []) known.id = bytes(known.id);
    const made = await navigator.credentials.create({ publicKey });
    return {
      id: made.id,
      rawId: text(made.rawId),
      type: made.type,
      extensions: made.getClientExtensionResults(),
      response: {
        attestationObject: text(made.response.attestationObject),
        clientDataJSON: text(made.response.clientDataJSON),
      },
    };
  };

  const get = async ({ publicKey }) => {
    publicKey.challenge = bytes(publicKey.challenge);
    for (const known of publicKey.allowCredentials || []) known.id = bytes(known.id);
    const shown = await navigator.credentials.get({ publicKey });
    const { authenticatorData, clientDataJSON, signature, userHandle } = shown.response;
    return {
      id: shown.id,
      rawId: text(shown.rawId),
      type: shown.type,
      extensions: {},
      response: {
        authenticatorData: text(authenticatorData),
        clientDataJSON: text(clientDataJSON),
        signature: text(signature),
        userHandle: userHandle && userHandle.byteLength ? text(userHandle) : null,
      },
    };
  };

  // A form that takes a passkey: its action begins the ceremony, and `data-finish` ends it.
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const said = form.querySelector("[role=status]");
    const button = form.querySelector("button");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      said.textContent = "Your browser asks for your passkey …";
      try {
        if (!window.PublicKeyCredential) throw new Error("This browser has no passkeys, or this page is not https.");
        const fields = Object.fromEntries(new FormData(form));
        if (form.dataset.passkey === "create") fields.secret = location.hash.slice(1);
        const { ceremony, options } = await post(form.action, fields);
        const answer = form.dataset.passkey === "create" ? await create(options) : await get(options);
        const { next } = await post(form.dataset.finish, { ceremony, answer });
        for (const field of form.querySelectorAll("[data-keep]")) sessionStorage.removeItem(kept(field.dataset.keep));
        location.assign(next);
      } catch (error) {
        const gone = error.name === "NotAllowedError";
        said.textContent = gone ? "No passkey was used, so nothing was done." : error.message;
        button.disabled = false;
        // What it asks about may be another by now: a new page says how it is.
        form.dataset.spent = "yes";
        button.textContent = "Load the page again";
        button.addEventListener("click", (again) => { again.preventDefault(); location.reload(); }, { once: true });
        said.focus();
      }
    });
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }

  // What is typed is kept, in this tab alone, until a page that was asked for no longer asks for it: neither a refresh nor
  // a refusal loses it.
  for (const field of document.querySelectorAll("[data-keep]")) {
    const key = kept(field.dataset.keep);
    field.value = sessionStorage.getItem(key) ?? field.value;
    field.addEventListener("input", () => sessionStorage.setItem(key, field.value));
  }
  if (!document.querySelector("[data-fault]")) {
    for (const key of Object.keys(sessionStorage)) {
      const gone = key.startsWith(kept("")) && !document.querySelector(`[data-keep="${CSS.escape(key.slice(kept("").length))}"]`);
      if (gone) sessionStorage.removeItem(key);
    }
  }

  // How it is with what is under way is brought up to date in its place: the page is not loaded again, nothing loses the
  // focus, and whoever listens to the page hears of it. It can be stopped.
  const state = document.querySelector("#state[data-follow]");
  if (state) {
    const following = document.getElementById("following");
    const button = following.querySelector("button");
    let on = true;
    following.hidden = false;
    button.addEventListener("click", () => {
      on = !on;
      button.textContent = on ? "Stop" : "Go on";
    });
    const look = async () => {
      if (on && !document.hidden) {
        const answer = await fetch(location.pathname, { redirect: "error" }).catch(() => null);
        const page = answer && new DOMParser().parseFromString(await answer.text().catch(() => ""), "text/html");
        // Without an answer it is as it was, and is asked for again. Where there is no such plan any more, that is told.
        const now = answer?.ok ? page.getElementById("state") : answer?.status === 410 ? page.querySelector("[data-fault]") : null;
        if (now && now.innerHTML !== state.innerHTML) state.replaceChildren(...now.childNodes);
        if (now && !now.hasAttribute("data-follow")) {
          if (document.activeElement === button) state.focus();
          following.parentElement.remove();
          return;
        }
      }
      setTimeout(look, 2000);
    };
    setTimeout(look, 500);
  }
})();
