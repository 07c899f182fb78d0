// Fetches parts of the page that may come after the rest of it, which must not wait for them.
(() => {
  "use strict";

  async function load(place) {
    place.textContent = "Looking for changes…";
    try {
      const response = await fetch(place.dataset.later, {
        headers: { "X-Requested-With": "fetch" },
      });
      if (response.redirected) {
        window.location.reload(); // logged out: never a login form within this page
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      place.innerHTML = await response.text();
    } catch (error) {
      place.textContent = "What changed cannot be shown right now. Reload the page to try again.";
      console.error(error);
    }
  }

  document.querySelectorAll("[data-later]").forEach(load);
})();
