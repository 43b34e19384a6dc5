// Draws the charts of the page of waiting times from the figures that stand in it, in the colours of the page.
"use strict";

(() => {
  const holder = document.getElementById("data");
  for (const field of document.querySelectorAll("#filter select")) field.addEventListener("change", () => field.form.requestSubmit());
  if (!holder || typeof echarts === "undefined") return;
  const data = JSON.parse(holder.textContent);
  const words = data.words;
  const places = ["reliability", "half-hours"].map((id) => document.getElementById(id));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const percent = (share) => `${Math.round(share * 100)} %`;
  const minutes = (seconds) => Math.round(seconds / 6) / 10;
  let charts = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Okabe and Ito's colours, which people who see few colours can tell apart; shapes differ too.
  const series = () => (dark.matches ? ["#56b4e9", "#e69f00", "#cc79a7"] : ["#0072b2", "#b35c00", "#a8437f"]);

  const common = () => ({
    animation: !still.matches,
    color: series(),
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("--text") },
    legend: { top: 0, left: 0, textStyle: { color: colour("--muted") }, itemGap: 14 },
    tooltip: {
      backgroundColor: colour("--raised"), borderColor: colour("--line-strong"), textStyle: { color: colour("--text") }, confine: true,
    },
  });

  const axis = (more) => ({
    nameLocation: "middle", nameTextStyle: { color: colour("--muted") },
    axisLabel: { color: colour("--muted"), ...more.label }, axisLine: { lineStyle: { color: colour("--line-strong") } },
    splitLine: { show: Boolean(more.lines), lineStyle: { color: colour("--line") } }, ...more.axis,
  });

  const reliability = () => ({
    ...common(),
    grid: { left: 52, right: 16, top: 62, bottom: 46 },
    tooltip: {
      ...common().tooltip, trigger: "item",
      formatter: ({ seriesName, value }) => (value.length < 3 ? words.ideal
        : `${words.waited} ${seriesName}<br>${words.forecast}: ${percent(value[0])}<br>${words.observed}: ${percent(value[1])}<br>${value[2]} ${words.waits}`),
    },
    xAxis: axis({ lines: true, label: { formatter: percent }, axis: { type: "value", min: 0, max: 1, name: words.forecast, nameGap: 28 } }),
    yAxis: axis({ lines: true, label: { formatter: percent }, axis: { type: "value", min: 0, max: 1, name: words.observed, nameGap: 40 } }),
    series: [
      {
        name: words.ideal, type: "line", data: [[0, 0], [1, 1]], symbol: "none", silent: true,
        lineStyle: { type: "dashed", color: colour("--faint"), width: 1.5 }, itemStyle: { color: colour("--faint") },
      },
      ...data.reliability.filter((each) => each.points.length).map((each, index) => ({
        name: each.name, type: "line", data: each.points, symbol: ["circle", "triangle", "diamond"][index],
        symbolSize: (value) => 6 + 2.2 * Math.log10(1 + value[2]), lineStyle: { width: 1.5 },
        color: series()[data.reliability.indexOf(each)],
      })),
    ],
  });

  const halfHours = () => {
    const rows = data.half_hours;
    return {
      ...common(),
      grid: { left: 46, right: 46, top: 62, bottom: 34 },
      tooltip: {
        ...common().tooltip, trigger: "axis",
        formatter: (points) => {
          const row = rows[points[0].dataIndex];
          return `${row[0]}<br>${words.wait}: ${minutes(row[1])} ${words.minutes}<br>${words.foretold}: ${minutes(row[2])} ${words.minutes}`
            + `<br>${words.coverage}: ${percent(row[3])}<br>${row[4]} ${words.waits}`;
        },
      },
      xAxis: axis({ axis: { type: "category", data: rows.map((row) => row[0]) }, label: { hideOverlap: true } }),
      yAxis: [
        axis({ lines: true, axis: { type: "value", min: 0, name: words.minutes, nameGap: 30 } }),
        axis({ label: { formatter: percent }, axis: { type: "value", min: 0, max: 1, position: "right" } }),
      ],
      series: [
        { name: words.wait, type: "line", data: rows.map((row) => minutes(row[1])), symbol: "circle", symbolSize: 6 },
        { name: words.foretold, type: "line", data: rows.map((row) => minutes(row[2])), symbol: "triangle", symbolSize: 7, lineStyle: { type: "dashed" } },
        {
          name: words.coverage, type: "line", yAxisIndex: 1, symbol: "diamond", symbolSize: 9, lineStyle: { opacity: 0 },
          data: rows.map((row) => (row[4] >= data.least ? row[3] : null)),
        },
        {
          name: words.aim, type: "line", yAxisIndex: 1, symbol: "none", silent: true, data: rows.map(() => 0.8),
          lineStyle: { type: "dotted", width: 1.5, color: series()[2] }, itemStyle: { color: series()[2] },
        },
      ],
    };
  };

  const draw = () => {
    for (const chart of charts) chart.dispose();
    charts = places.map((place) => echarts.init(place, null, { renderer: "svg" }));
    charts[0].setOption(reliability());
    charts[1].setOption(halfHours());
  };

  draw();
  dark.addEventListener("change", draw);
  addEventListener("resize", () => { for (const chart of charts) chart.resize(); });
})();
