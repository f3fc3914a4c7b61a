{
  // The page's rules hang on its classes and variables; a picture that leaves the page takes what they come to with it.
  const carried = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "paint-order", "stroke-linejoin",
    "font-family", "font-size", "font-weight", "font-variant-numeric", "text-anchor", "dominant-baseline"];
  const standalone = (shown) => {
    const copy = shown.cloneNode(true);
    const copies = [copy, ...copy.querySelectorAll("*")];
    [shown, ...shown.querySelectorAll("*")].forEach((element, index) => {
      const style = getComputedStyle(element);
      copies[index].setAttribute("style", carried.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    });
    const { width, height } = shown.viewBox.baseVal;
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const paper = document.createElementNS(shown.namespaceURI, "rect");
    paper.setAttribute("width", "100%");
    paper.setAttribute("height", "100%");
    paper.setAttribute("fill", getComputedStyle(shown.closest("figure")).backgroundColor);
    copy.prepend(paper);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  };
  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };
  const saveSvg = (shown, name) => save(new Blob([standalone(shown).text], { type: "image/svg+xml" }), `${name}.svg`);
  const savePng = (shown, name) => {
    const { text, width, height } = standalone(shown);
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = 2 * width;
      canvas.height = 2 * height;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, `${name}.png`), "image/png");
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  };
  for (const numbers of document.querySelectorAll("figure > .numbers")) {
    const shown = numbers.parentElement.querySelector("svg.figure");
    const csv = numbers.querySelector("a.download");
    if (!shown || !csv) continue;
    const name = csv.download.replace(/\.csv$/, "");
    const title = numbers.parentElement.querySelector("figcaption b").textContent;
    for (const [label, action] of [["SVG", saveSvg], ["PNG", savePng]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "picture";
      button.textContent = label;
      button.setAttribute("aria-label", `${title}: picture as ${label}`);
      button.addEventListener("click", () => action(shown, name));
      numbers.append(button);
    }
  }
}
