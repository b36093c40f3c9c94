"use strict";
// Toggles, the reading at rank k, and the download. The page is complete without: this only adds to it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const curves = all("script.analysis").map((block) => JSON.parse(block.textContent).curves);
  const plots = document.getElementById("plots");
  const slider = document.getElementById("rank");
  const form = document.querySelector("form");
  const [left, right, bottom, top] = JSON.parse(plots.dataset.frame);
  const last = Math.max(2, Number(slider.max));
  const panels = all("figure", plots).map((figure) => ({
    name: figure.dataset.name,
    scales: JSON.parse(figure.dataset.scales),
    svg: figure.querySelector("svg"),
    line: figure.querySelector(".cross path"),
    dots: all(".cross circle", figure),
    outputs: all("output", figure),
  }));

  const height = ([low, high, log], value) => {
    const part = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return bottom + (top - bottom) * part;
  };

  const read = (panel, source, mode, share, k) => {
    if (panel.name === "intensity") return source.intensity[k - 1];
    const name = share === "variance" ? panel.name + "_variance" : panel.name;
    const values = (mode === "individual" ? source.individual : source)[name];
    return values === null ? undefined : values[k - 1];
  };

  const update = () => {
    const mode = form.elements.mode.value;
    const share = form.elements.form.value;
    const k = Number(slider.value);
    const x = left + ((right - left) * Math.log(k)) / Math.log(last);
    plots.dataset.mode = mode;
    plots.dataset.form = share;
    document.getElementById("shown").textContent = k;
    for (const panel of panels) {
      const scale = panel.scales[mode] || panel.scales[`${mode} ${share}`] || panel.scales.always;
      panel.line.setAttribute("d", `M${x} ${top}V${bottom}`);
      curves.forEach((source, i) => {
        const value = read(panel, source, mode, share, k);
        const known = value !== undefined;
        panel.outputs[i].textContent = known ? String(Number(value.toPrecision(4))) : "-";
        panel.dots[i].setAttribute("r", known ? 4 : 0);
        if (!known) return;
        panel.dots[i].setAttribute("cx", x);
        panel.dots[i].setAttribute("cy", height(scale, value));
      });
    }
  };

  const follow = (event) => {
    const svg = event.currentTarget;
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const part = Math.min(1, Math.max(0, (x - left) / (right - left)));
    slider.value = Math.round(Math.exp(part * Math.log(last)));
    update();
  };

  const download = (event) => {
    const link = document.createElement("a");
    const wanted = event.currentTarget.dataset;
    const text = document.getElementById(wanted.document).textContent;
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = wanted.file;
    link.click();
    URL.revokeObjectURL(link.href);
  };

  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const panel of panels) {
    panel.svg.addEventListener("pointermove", follow);
    panel.svg.addEventListener("pointerdown", follow);
  }
  for (const button of all("button[data-document]")) {
    button.hidden = false;
    button.addEventListener("click", download);
  }
  update();
})();
