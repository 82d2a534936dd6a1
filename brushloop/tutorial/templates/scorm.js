// Tells the learning platform (SCORM 1.2 run-time API) that the lesson was begun, and that it was read to its end.
(function () {
  "use strict";
  function find(from) {
    for (let depth = 0; from && depth < 10; depth += 1) {
      if (from.API) return from.API;
      if (from.parent === from) return null;
      from = from.parent;
    }
    return null;
  }
  let api = null;
  try { api = find(window) || (window.opener && find(window.opener)); } catch (error) { api = null; }
  if (!api) return;
  let done = false;
  function set(name, value) { api.LMSSetValue(name, value); api.LMSCommit(""); }
  api.LMSInitialize("");
  if (api.LMSGetValue("cmi.core.lesson_status") === "completed") done = true;
  else set("cmi.core.lesson_status", "incomplete");
  function look() {
    const root = document.documentElement;
    if (done || window.scrollY + window.innerHeight < root.scrollHeight - 8) return;
    done = true;
    set("cmi.core.lesson_status", "completed");
  }
  window.addEventListener("load", look);
  window.addEventListener("scroll", look, { passive: true });
  window.addEventListener("pagehide", function () { api.LMSFinish(""); });
})();
