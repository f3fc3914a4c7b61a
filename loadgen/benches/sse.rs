//! What splitting a stream into events costs, beside a bare scan for line ends over the same bytes in the same run.

#![allow(missing_docs, reason = "criterion's macros make items without docs")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memchr::memchr_iter;
use teebench_loadgen::client::SseParser;

const EVENTS: usize = 10_000;

fn stream() -> Vec<u8> {
    let event = concat!(
        r#"data: {"id":"cmpl-0123456789abcdef","object":"text_completion","created":1700000000,"model":"m","#,
        r#""choices":[{"index":0,"text":" token","logprobs":null,"finish_reason":null}],"usage":null}"#,
        "\n\n"
    );
    event.repeat(EVENTS).into_bytes()
}

fn sse(criterion: &mut Criterion) {
    let stream = stream();
    let mut group = criterion.benchmark_group("sse");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("scan for line ends", |bencher| {
        bencher.iter(|| memchr_iter(b'\n', black_box(&stream)).count());
    });
    // Pieces of an event each, as servers send them; of a read of a busy socket; and cut inside every event.
    for piece in [stream.len() / EVENTS, 16 * 1024, 100] {
        group.bench_with_input(BenchmarkId::new("split into events", piece), &piece, |bencher, &piece| {
            bencher.iter(|| {
                let (mut parser, mut bytes) = (SseParser::default(), 0);
                for bytes_read in black_box(&stream).chunks(piece) {
                    parser.feed(bytes_read, |data| bytes += data.len()).expect("events are short");
                }
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sse);
criterion_main!(benches);
