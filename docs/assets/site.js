// For those who read with the keyboard or by ear: wide tables can be reached and scrolled, and navigations have names.
function name() {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((table, place) => {
    table.tabIndex = 0;
    table.setAttribute("role", "group");
    table.setAttribute("aria-label", `Table ${place + 1}`);
  });
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((bar, place) => {
    bar.setAttribute("aria-label", `Block ${place + 1}, ${bar.closest("pre")?.id ?? ""}`);
  });
}
addEventListener("load", name);
new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
