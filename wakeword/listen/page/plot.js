"use strict";
// The score of one phrase over the last minute, with the line at which it fires.

const MINUTE_S = 60;
const EDGE = 7; // log-odds at the top and bottom: scores of 0.999 and 0.001

// Scores pile up near 0 and 1, and thresholds lie anywhere: log-odds give both ends room.
function height(score) {
  const p = Math.min(Math.max(score, 1e-6), 1 - 1e-6);
  const odds = Math.log(p / (1 - p));
  return (Math.min(Math.max(odds, -EDGE), EDGE) + EDGE) / (2 * EDGE);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// points: [{at, score}], seconds since 1970; now: the right edge.
function drawScores(canvas, points, threshold, now) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, tall = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(tall * scale)) canvas.height = Math.round(tall * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, tall);
  const left = 30, top = 5, bottom = tall - 5;
  const x = (at) => left + (width - left) * (1 - (now - at) / MINUTE_S);
  const y = (score) => bottom - height(score) * (bottom - top);

  pen.font = "10px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  for (const [score, text] of [[0.99, ".99"], [0.5, ".5"], [0.01, ".01"]]) {
    pen.fillStyle = colour("--quiet");
    pen.fillText(text, left - 6, y(score));
    line(pen, colour("--line"), [], left, y(score), width, y(score));
  }
  line(pen, colour("--bad"), [5, 4], left, y(threshold), width, y(threshold));
  drawLine(pen, points, x, y, left);
  for (const point of points) {
    if (point.score >= threshold && x(point.at) >= left) {
      pen.fillStyle = colour("--good");
      pen.beginPath();
      pen.arc(x(point.at), y(point.score), 2.5, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

function drawLine(pen, points, x, y, left) {
  pen.strokeStyle = colour("--accent");
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.beginPath();
  let before = null;
  for (const point of points) {
    if (x(point.at) < left) continue;
    const gap = before === null || point.at - before > 2; // nothing was heard in between
    if (gap) pen.moveTo(x(point.at), y(point.score));
    else pen.lineTo(x(point.at), y(point.score));
    before = point.at;
  }
  pen.stroke();
}

function line(pen, style, dashes, x0, y0, x1, y1) {
  pen.strokeStyle = style;
  pen.setLineDash(dashes);
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
  pen.setLineDash([]);
}
