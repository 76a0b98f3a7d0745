(function () {
  "use strict";
  var tools = document.getElementById("tools");
  if (!tools) return;
  var find = document.getElementById("find");
  var found = document.getElementById("found");
  var battles = Array.prototype.slice.call(document.querySelectorAll("#battles > li"));
  var texts = null;
  function search() {
    texts = texts || battles.map(function (one) { return one.textContent.toLowerCase(); });
    var words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    var count = 0;
    battles.forEach(function (one, place) {
      var shown = words.every(function (word) { return texts[place].indexOf(word) >= 0; });
      one.hidden = !shown;
      count += shown ? 1 : 0;
    });
    found.textContent = words.length ? count + " of " + battles.length : "";
  }
  function fold(open) {
    battles.forEach(function (one) {
      if (!one.hidden || !open) one.firstElementChild.open = open;
    });
  }
  find.addEventListener("input", search);
  document.getElementById("unfold").addEventListener("click", function () { fold(true); });
  document.getElementById("fold").addEventListener("click", function () { fold(false); });
  tools.hidden = false;
})();
