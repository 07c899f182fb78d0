// Fetches parts of a page that must not keep it waiting: at once, or when their panel is opened.
(() => {
  "use strict";

  async function load(place) {
    if (place.dataset.state) return;
    place.dataset.state = "loading";
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = place.dataset.waiting || "";
    place.append(note);
    try {
      const response = await fetch(place.dataset.fetch, {
        headers: { "X-Requested-With": "fetch" },
      });
      if (response.redirected) {
        window.location.reload(); // logged out: never a login form within this page
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      place.innerHTML = await response.text();
      place.dataset.state = "ready";
    } catch (error) {
      // What is there stays: hidden fields, by which a form keeps the filters that are set.
      note.textContent = place.dataset.failed;
      place.dataset.state = "";
      console.error(error);
    }
  }

  for (const place of document.querySelectorAll("[data-fetch]")) {
    const panel = place.closest("details");
    panel?.addEventListener("toggle", () => panel.open && load(place));
    if (!panel || panel.open) load(place);
  }
})();
