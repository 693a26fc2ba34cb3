// Colours from spherical harmonics in the order and with the signs of 3DGS.

// GLSL that adds up what the coefficients of degree 1 and more give along a unit direction `d`.
export function viewDependence(coefficients: number): string {
  const terms: string[] = [];
  const add = (factors: string[]) => {
    for (const factor of factors) terms.push(`(${factor}) * coefficient(${terms.length + 1}).rgb`);
  };
  if (coefficients > 1) add(["-0.4886025 * d.y", "0.4886025 * d.z", "-0.4886025 * d.x"]);
  if (coefficients > 4) {
    add([
      "1.0925484 * d.x * d.y",
      "-1.0925484 * d.y * d.z",
      "0.3153916 * (2.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
      "-1.0925484 * d.x * d.z",
      "0.5462742 * (d.x * d.x - d.y * d.y)",
    ]);
  }
  if (coefficients > 9) {
    add([
      "-0.5900436 * d.y * (3.0 * d.x * d.x - d.y * d.y)",
      "2.8906114 * d.x * d.y * d.z",
      "-0.4570458 * d.y * (4.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
      "0.3731763 * d.z * (2.0 * d.z * d.z - 3.0 * d.x * d.x - 3.0 * d.y * d.y)",
      "-0.4570458 * d.x * (4.0 * d.z * d.z - d.x * d.x - d.y * d.y)",
      "1.4453057 * d.z * (d.x * d.x - d.y * d.y)",
      "-0.5900436 * d.x * (d.x * d.x - 3.0 * d.y * d.y)",
    ]);
  }
  return terms.join("\n    + ") || "vec3(0.0)";
}
