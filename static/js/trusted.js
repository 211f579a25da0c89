// What may become a part of a page: what this relay answered, and never a script.
"use strict";

if (window.trustedTypes) {
  window.trustedTypes.createPolicy("default", {
    createHTML(text) {
      if (/<(script|iframe|object|embed|base)\b/i.test(text)) throw new TypeError("refused: no such part");
      return text;
    },
  });
}
