// Learning curves, drawn by Plotly, which the service itself brings.
const chart = document.getElementById("chart");
const figure = document.getElementById("figure");
const LABELLED = 10;

function draw() {
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const key = figure.value;
  const accuracy = key.endsWith("accuracy");
  const units = Object.entries(curves).filter(([, curve]) => curve[key].some((value) => value !== null));
  if (!units.length) {
    chart.style.minHeight = "0";
    chart.replaceChildren(Object.assign(document.createElement("p"), {
      className: "quiet",
      textContent: "No epoch has this figure yet.",
    }));
    return;
  }
  if (!chart.data) chart.replaceChildren();
  chart.style.minHeight = "";
  const traces = units.map(([name, curve]) => ({
    name,
    x: curve.epoch,
    y: curve[key].map((value) => (accuracy && value !== null ? 100 * value : value)),
    mode: curve.epoch.length > 1 ? "lines" : "markers",
    line: { width: units.length > LABELLED ? 1.3 : 2 },
    hovertemplate: `${name}, epoch %{x}: %{y:.4g}${accuracy ? " %" : ""}<extra></extra>`,
  }));
  // A few that went wrong must not press all others into a flat line.
  const ends = units.map(([, curve]) => curve[key].filter((value) => value !== null).at(-1)).sort((one, other) => one - other);
  const scale = accuracy ? 100 : 1;
  const all = units.flatMap(([, curve]) => curve[key].filter((value) => value !== null));
  const [low, high] = [Math.min(...all) * scale, Math.max(...all) * scale];
  const middle = ends[Math.floor(ends.length / 2)] * scale;
  const reach = 1.5 * Math.abs((accuracy ? high : low) - middle) + (accuracy ? 10 : 0.3);
  const range = accuracy ? [Math.max(low, middle - reach), high] : [low, Math.min(high, middle + reach)];
  const margin = 0.05 * (range[1] - range[0]) || 1;
  const narrow = chart.clientWidth < 600;
  const layout = {
    margin: { l: 56, r: 12, t: 12, b: 44 },
    xaxis: { title: { text: "epoch" }, tickformat: "d", rangemode: "tozero" },
    yaxis: { title: { text: `${figure.selectedOptions[0].textContent}${accuracy ? " (%)" : " (nats)"}` },
      range: [range[0] - margin, range[1] + margin] },
    showlegend: units.length <= LABELLED,
    legend: narrow ? { orientation: "h", y: -0.25 } : {},
    hovermode: "closest",
    uirevision: key,
    font: { family: "system-ui, sans-serif" },
  };
  Plotly.react(chart, traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

figure.addEventListener("change", draw);
document.addEventListener("live", draw);
if (window.Plotly) draw();
else addEventListener("load", draw);
