// Fetches the fields of a panel when it is opened: their values take as long as a page.
(() => {
  "use strict";

  for (const place of document.querySelectorAll("[data-fetch]")) {
    const panel = place.closest("details");

    async function load() {
      if (!panel.open || place.dataset.state) return;
      place.dataset.state = "loading";
      try {
        const response = await fetch(place.dataset.fetch, {
          headers: { "X-Requested-With": "fetch" },
        });
        if (response.redirected) {
          window.location.reload(); // logged out: never a login form within this form
          return;
        }
        if (!response.ok) throw new Error(`status ${response.status}`);
        place.innerHTML = await response.text();
        place.dataset.state = "ready";
      } catch (error) {
        // The hidden fields stay, so that the form keeps the filters that are set.
        const note = document.createElement("p");
        note.className = "note";
        note.textContent = "The filters cannot be shown right now.";
        place.append(note);
        place.dataset.state = "";
        console.error(error);
      }
    }

    panel.addEventListener("toggle", load);
    load();
  }
})();
