for (const range of document.querySelectorAll(".slider input")) {
  const show = () => range.closest(".slider").style.setProperty("--at", range.value + "%");
  range.addEventListener("input", show);
  show();
}
