// Draws the charts of a report from the figures that stand in the page, and opens what a figure means.
"use strict";

(() => {
  const form = document.getElementById("filter");
  const period = document.getElementById("period");
  const days = () => form.classList.toggle("plain-period", period.value !== "custom");
  days();
  period.addEventListener("change", days);
  for (const field of form.querySelectorAll("select")) {
    field.addEventListener("change", () => { if (field !== period || period.value !== "custom") form.requestSubmit(); });
  }

  for (const link of document.querySelectorAll("[data-definition]")) {
    const dialog = document.getElementById(`definition-${link.dataset.definition}`);
    if (!dialog) continue;
    link.setAttribute("role", "button");
    link.setAttribute("aria-haspopup", "dialog");
    link.addEventListener("click", (event) => { event.preventDefault(); dialog.showModal(); });
    link.addEventListener("keydown", (event) => { if (event.key === " ") { event.preventDefault(); dialog.showModal(); } });
  }
  for (const dialog of document.querySelectorAll("dialog.definition")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  if (typeof echarts === "undefined") return;
  const data = JSON.parse(document.getElementById("data").textContent);
  const language = document.documentElement.lang || "en";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let charts = [];

  // Okabe and Ito's colours, which people who see few colours can tell apart; lines differ in their shapes, too.
  const series = () => (dark.matches
    ? ["#56b4e9", "#e69f00", "#cc79a7", "#9aa0a6", "#009e73"]
    : ["#0072b2", "#d17a00", "#a8437f", "#7a8087", "#00795a"]);
  const shapes = ["circle", "triangle", "diamond", "rect", "roundRect"];

  const time = (value) => {
    const all = Math.abs(Math.round(value));
    const two = (part) => String(part).padStart(2, "0");
    const hours = Math.floor(all / 3600);
    const text = hours ? `${hours}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}` : `${Math.floor(all / 60)}:${two(all % 60)}`;
    return value < 0 ? `-${text}` : text;
  };
  const shown = (unit) => (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (unit === "share") return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(value);
    if (unit === "seconds") return time(value);
    if (unit === "money") return new Intl.NumberFormat(language, { style: "currency", currency: data.currency }).format(value);
    return new Intl.NumberFormat(language, { maximumFractionDigits: 2 }).format(value);
  };

  const common = () => ({
    animation: !still.matches,
    color: series(),
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("--text") },
    tooltip: {
      backgroundColor: colour("--raised"), borderColor: colour("--line-strong"), textStyle: { color: colour("--text") }, confine: true,
    },
  });
  const labels = (more) => ({
    axisLabel: { color: colour("--muted"), hideOverlap: true, ...more },
    axisLine: { lineStyle: { color: colour("--line-strong") } }, axisTick: { show: false },
  });

  const overTime = (chart) => ({
    ...common(),
    legend: { show: chart.series.length > 1, top: 0, left: 0, type: "scroll", textStyle: { color: colour("--muted") }, itemGap: 12, itemWidth: 14, itemHeight: 10 },
    grid: { left: 8, right: 12, top: chart.series.length > 1 ? 40 : 14, bottom: 4, containLabel: true },
    tooltip: { ...common().tooltip, trigger: "axis", axisPointer: { type: chart.bars ? "shadow" : "line" }, valueFormatter: shown(chart.unit) },
    xAxis: { type: "category", data: data.labels, boundaryGap: chart.bars, ...labels({}) },
    yAxis: {
      type: "value", max: chart.unit === "share" ? 1 : undefined, minInterval: chart.unit === "count" ? 1 : undefined,
      ...labels({ formatter: shown(chart.unit) }), splitLine: { lineStyle: { color: colour("--line") } },
    },
    series: chart.series.map((each, index) => ({
      name: each.name, data: each.data, type: chart.bars ? "bar" : "line", stack: chart.stacked ? "all" : undefined,
      barMaxWidth: 34, symbol: shapes[index % shapes.length], symbolSize: 6, showSymbol: data.labels.length < 60, connectNulls: false,
      lineStyle: { width: 2 }, itemStyle: chart.stacked ? { borderColor: colour("--surface"), borderWidth: 0.5 } : {},
      aria: { enabled: false },
    })),
  });

  const heat = () => {
    const most = Math.max(1, ...data.heat.cells.map((cell) => cell[2]));
    const hours = Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, "0"));
    return {
      ...common(),
      grid: { left: 8, right: 12, top: 8, bottom: 44, containLabel: true },
      tooltip: {
        ...common().tooltip, formatter: ({ value }) => `${data.heat.days[value[1]]} ${hours[value[0]]}:00<br><b>${shown("number")(value[2])}</b>`,
      },
      xAxis: { type: "category", data: hours, ...labels({}) },
      yAxis: { type: "category", data: data.heat.days, inverse: true, ...labels({}) },
      visualMap: {
        min: 0, max: most, orient: "horizontal", left: "center", bottom: 0, itemHeight: 120, itemWidth: 12, textStyle: { color: colour("--muted") },
        inRange: { color: dark.matches ? ["#20262e", "#1c5d85", "#56b4e9", "#d8eefb"] : ["#eef3f7", "#9ccae6", "#3a8fc4", "#0b3d5f"] },
      },
      series: [{ type: "heatmap", data: data.heat.cells, itemStyle: { borderColor: colour("--surface"), borderWidth: 1 } }],
    };
  };

  const draw = () => {
    for (const chart of charts) chart.dispose();
    charts = [...document.querySelectorAll(".chart")].map((place) => {
      const chart = echarts.init(place, null, { renderer: "svg" });
      chart.setOption("heat" in place.dataset ? heat() : overTime(data.charts[Number(place.dataset.chart)]));
      return chart;
    });
  };

  draw();
  dark.addEventListener("change", draw);
  addEventListener("resize", () => { for (const chart of charts) chart.resize(); });
})();
