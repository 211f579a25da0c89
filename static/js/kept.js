// What a reader opened, typed or ticked stays when the part it is in is read again.

function isHis(name, element) {
  if (name === "open") return element.matches("details, dialog");
  if (name === "checked") return element.checked !== element.defaultChecked;
  return name === "value" && element.value !== element.defaultValue;
}

window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !isHis(name, element);
