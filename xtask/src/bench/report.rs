//! Medians, ratios, the table and the line of JSON.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{
    flat::Flat,
    measure::{Case, Path, Sample},
};

/// The most that a case may cost, in the floor's CPU per request.
const TARGETS: [(Case, f64); 5] = [
    (Case::Call, 2.0),
    (Case::CallModern, 2.2),
    (Case::ListFederated, 5.0),
    (Case::Args64k, 1.5),
    (Case::CallFullPolicy, 2.75),
];
/// The most that rules and budgets may add to a call, whatever their number, in what it costs with few.
const FLAT: f64 = 1.2;

/// The most that mcpgw may hold in memory before there is a call, in MB.
const IDLE: f64 = 25.0;

/// The medians of one case on one path.
#[derive(Clone, Copy)]
struct Medians {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    rps: f64,
}

/// Prints all.
pub fn print(samples: &[Sample], flat: Option<&Flat>, idle: f64, loaded: f64) {
    println!(
        "\n{:<15} {:<11} {:>9} {:>9} {:>9} {:>10} {:>12} {:>12}",
        "case", "path", "req/s", "p50 µs", "p99 µs", "CPU µs/req", "CPU/floor", "p99/floor"
    );
    let mut summary = Map::new();
    let mut verdicts = Vec::new();
    for case in Case::value_variants().iter().copied() {
        let floor = medians(samples, case, Path::Floor);
        for path in case.paths() {
            let Some(of) = medians(samples, case, *path) else {
                continue;
            };
            let ratio = |own: f64, floor: Option<f64>| match (path, floor) {
                (Path::Direct, _) | (_, None) => "–".to_owned(),
                (_, Some(floor)) => format!("{:.2}", own / floor),
            };
            println!(
                "{:<15} {:<11} {:>9.0} {:>9.0} {:>9.0} {:>10.1} {:>12} {:>12}",
                case.name(),
                path.name(),
                of.rps,
                of.p50_us,
                of.p99_us,
                of.cpu_us,
                ratio(of.cpu_us, floor.map(|floor| floor.cpu_us)),
                ratio(of.p99_us, floor.map(|floor| floor.p99_us)),
            );
        }
        // The path that a case is about: redirected, but for lists, which only the gateway federates.
        let own = match case {
            Case::ListFederated => Path::Addressed,
            _ => Path::Redirected,
        };
        if let (Some(own), Some(floor)) = (medians(samples, case, own), floor) {
            let ratios = json!({
                "cpu_ratio_to_floor": rounded(own.cpu_us / floor.cpu_us),
                "p99_ratio_to_floor": rounded(own.p99_us / floor.p99_us),
            });
            summary.insert(case.name().to_owned(), ratios);
            let target = TARGETS.iter().find(|(of, _)| *of == case);
            verdicts.extend(target.map(|(_, most)| verdict(case.name(), own.cpu_us / floor.cpu_us, *most)));
        }
    }
    println!("resident: {idle:.1} MB idle, {loaded:.1} MB after the load\n");
    if let (Some(call), Some(flat)) = (medians(samples, Case::CallFullPolicy, Path::Redirected), flat) {
        flat.print(call.cpu_us);
        let ratio = json!({ "cpu_ratio_to_few": rounded(flat.of_a_call(call.cpu_us)) });
        summary.insert("call_many_rules_and_keys".to_owned(), ratio);
        verdicts.push(verdict("call_many_rules_and_keys", flat.of_a_call(call.cpu_us), FLAT));
    }
    verdicts.push(verdict("idle, MB", idle, IDLE));
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    summary.insert("idle".to_owned(), json!({ "rss_mb": rounded(idle) }));
    println!("{}", Value::Object(summary));
}

/// Whether a target is met, in a line.
fn verdict(what: &str, value: f64, most: f64) -> String {
    let word = if value <= most { "met" } else { "MISSED" };
    format!("{what:<26} {value:>6.2} of at most {most:.2}: {word}")
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn medians(samples: &[Sample], case: Case, path: Path) -> Option<Medians> {
    let of: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.case == case && sample.path == path)
        .collect();
    let median = |value: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = of.iter().map(|sample| value(sample)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Medians {
        cpu_us: median(|sample| sample.cpu_us)?,
        p50_us: median(|sample| sample.p50_us)?,
        p99_us: median(|sample| sample.p99_us)?,
        rps: median(|sample| sample.rps)?,
    })
}
