//! Against the files of tests/parquet, which pyarrow wrote.

use super::*;

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet").join(name)
}

/// Every place of the header that holds a feature, and whether it is a text.
fn features(table: &Table) -> Vec<(usize, bool)> {
    let header = table.header().iter().enumerate();
    let features =
        header.filter(|(_, name)| !["admitted", "born", "scan", "place"].contains(&name.as_str()));
    features.map(|(at, name)| (at, ["ward", "note", "code"].contains(&name.as_str()))).collect()
}

/// All values of a table by their columns.
fn values(mut table: Table) -> Result<Vec<Vec<String>>> {
    let places = features(&table);
    table.select(&places)?;
    let mut rows = Vec::new();
    while let Some(row) = table.next()? {
        assert_eq!(row.number, rows.len() as u64 + 1);
        let cells = places.iter().map(|&(place, is_text)| match row.cell(place) {
            Cell::Missing => String::new(),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.trim().to_owned(),
            Cell::Written("True") => "1".to_owned(),
            Cell::Written("False") => "0".to_owned(),
            Cell::Written(text) if is_text => text.to_owned(),
            Cell::Written(text) => text.parse().map_or(String::new(), |x: f64| x.to_string()),
        });
        rows.push(cells.collect());
    }
    assert_eq!(table.rows(), rows.len() as u64);
    Ok(rows)
}

#[test]
fn parquet_holds_what_csv_does() {
    let csv = Table::open(&path("table.csv")).unwrap();
    let names: Vec<String> =
        features(&csv).into_iter().map(|(at, _)| csv.header()[at].clone()).collect();
    let expected = values(csv).unwrap();
    assert_eq!((expected.len(), expected[0].len()), (60, 18));
    for name in ["plain", "snappy", "gzip", "zstd"] {
        let table = Table::open(&path(&format!("{name}.parquet"))).unwrap();
        let found: Vec<_> =
            features(&table).into_iter().map(|(at, _)| table.header()[at].clone()).collect();
        assert_eq!(found, names, "{name}");
        assert_eq!(values(table).unwrap(), expected, "{name}");
    }
}

#[test]
fn texts_are_values_where_a_file_can_say_that_there_is_none() {
    let mut table = Table::open(&path("plain.parquet")).unwrap();
    let at = |name| table.header().iter().position(|other| other == name).unwrap();
    let (code, ward) = (at("code"), at("ward"));
    table.select(&[(code, true), (ward, true)]).unwrap();
    let row = table.next().unwrap().unwrap();
    assert_eq!((row.cell(code), row.cell(ward)), (Cell::Text("NA"), Cell::Text("ward 0")));
    table.next().unwrap();
    table.next().unwrap();
    let row = table.next().unwrap().unwrap();
    assert_eq!((row.number, row.cell(ward)), (4, Cell::Missing));
    // What nobody asked for is not read.
    assert_eq!(row.cell(0), Cell::Missing);
}

#[test]
fn what_is_no_feature_is_refused_by_name() {
    let refused = |file: &str, column: &str, is_text, part: &str| {
        let error = Table::open(&path(file)).and_then(|mut table| {
            let place = table.header().iter().position(|name| name == column).unwrap();
            table.select(&[(place, is_text)])?;
            while table.next()?.is_some() {}
            Ok(())
        });
        let error = error.unwrap_err();
        assert!(error.message().contains(part), "{error}");
    };
    refused("plain.parquet", "admitted", false, "column 'admitted' is a timestamp");
    refused("plain.parquet", "born", true, "column 'born' is a date");
    refused("plain.parquet", "scan", true, "column 'scan' is binary");
    refused("plain.parquet", "place", false, "column 'place' is a struct");
    refused("plain.parquet", "age", true, "column 'age' is a number, and its feature a text");
    refused("brotli.parquet", "age", false, "'age' is compressed by BROTLI");
    refused("uneven.parquet", "strip[0]", false, "row 3: 'strip' has 3 elements; expected 2");
    let mut table = Table::open(&path("plain.parquet")).unwrap();
    assert!(table.select(&[]).unwrap_err().message().contains("no column is a feature"));
}

/// Reads a whole table of these bytes, to the values or to an error.
fn read(bytes: &[u8], name: &str) -> Result<usize> {
    let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let rows = Table::open(&path).and_then(values);
    std::fs::remove_file(&path).unwrap();
    Ok(rows?.len())
}

#[test]
fn damaged_files_are_errors() {
    for name in ["plain", "snappy", "gzip", "zstd"] {
        let bytes = std::fs::read(path(&format!("{name}.parquet"))).unwrap();
        for length in (0..bytes.len()).step_by(211) {
            // Fewer bytes than the magic make a text, with a header and no row.
            let found = read(&bytes[..length], "truncated");
            assert!(found.is_err() || (length < 4 && matches!(found, Ok(0))), "{name} {length}");
        }
        for place in (4..bytes.len()).step_by(97) {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0xff;
            // A value may have changed, but nothing is told of it but that it can not be read.
            let Err(error) = read(&bytes, "damaged") else { continue };
            for note in ["Fieber", "follow-up", "ward "] {
                assert!(!error.message().contains(note), "{name} {place}: {error}");
            }
        }
    }
}
