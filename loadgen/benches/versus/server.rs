//! A paced server for benchmarks: one thread, one core, no parsing beyond a request's length, so that it never is what is
//! measured. (`teebench mock-vllm` simulates an engine; this only keeps time.)
//!
//! A completion's n-th chunk is due at its arrival + TTFT + n x ITL, whatever became of the chunks before; `GET /stats`
//! says how late the chunks were written since it was asked last.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// How it answers.
#[derive(Clone, Copy)]
pub struct Pace {
    pub ttft: Duration,
    pub itl: Duration,
    pub chunks: usize,
}

const LISTENER: u64 = u64::MAX;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// An event as vLLM sends it.
const EVENT: &str = concat!(
    r#"data: {"id":"cmpl-6f3a0d52c1f94d0ebfa1c3a5d9b7e802","object":"text_completion","created":1700000000,"#,
    r#""model":"m","choices":[{"index":0,"text":" token","logprobs":null,"finish_reason":null,"stop_reason":null,"#,
    r#""prompt_token_ids":null,"token_ids":null}],"usage":null}"#,
    "\n\n"
);

/// Serves until the process is ended; calls `ready` with the base URL first.
pub fn serve(pace: Pace, ready: impl FnOnce(String)) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    ready(format!("http://{}", listener.local_addr()?));
    let mut server = Server {
        pace,
        epoll,
        connections: Vec::new(),
        first: VecDeque::new(),
        next: VecDeque::new(),
        late: Vec::new(),
    };
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = server.epoll.wait(&mut events, server.sleep())?;
        for event in &events[..count] {
            match event.data() {
                LISTENER => server.accept(&listener)?,
                number => server.on_socket(number as usize, event.events())?,
            }
        }
        server.emit()?;
    }
}

struct Server {
    pace: Pace,
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    /// First chunks that are due, in order: all wait equally long, so that the order is that of arrival.
    first: VecDeque<Due>,
    /// Later chunks, in order for the same reason.
    next: VecDeque<Due>,
    late: Vec<Duration>,
}

struct Due {
    at: Instant,
    number: usize,
    chunk: usize,
}

struct Connection {
    socket: TcpStream,
    /// What of a request has come.
    received: Vec<u8>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    waits_to_write: bool,
}

impl Server {
    /// Until the next chunk is due; the last millisecond is spun away, for epoll counts in milliseconds.
    fn sleep(&self) -> EpollTimeout {
        let due = [&self.first, &self.next].into_iter().filter_map(VecDeque::front).map(|due| due.at).min();
        match due {
            None => EpollTimeout::NONE,
            Some(at) => {
                let left_ms = at.saturating_duration_since(Instant::now()).as_millis();
                u16::try_from(left_ms).map_or(EpollTimeout::MAX, EpollTimeout::from)
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some((socket, _)) = unless_blocked(listener.accept())? {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = self.connections.len();
            self.epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            self.connections.push(Some(Connection {
                socket,
                received: Vec::new(),
                unsent: Vec::new(),
                waits_to_write: false,
            }));
        }
        Ok(())
    }

    fn on_socket(&mut self, number: usize, events: EpollFlags) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        if events.contains(EpollFlags::EPOLLOUT) {
            let unsent = std::mem::take(&mut connection.unsent);
            write(&self.epoll, number, connection, &unsent)?;
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Ok(());
        }
        let mut buffer = [0; 16 * 1024];
        match unless_blocked(connection.socket.read(&mut buffer)) {
            Ok(Some(0)) | Err(_) => self.connections[number] = None,
            Ok(Some(count)) => {
                connection.received.extend_from_slice(&buffer[..count]);
                if let Some(asks) = whole_request(&connection.received) {
                    connection.received.clear();
                    self.answer(number, asks)?;
                }
            }
            Ok(None) => {}
        }
        Ok(())
    }

    fn answer(&mut self, number: usize, asks: Asks) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        match asks {
            Asks::Models => {
                let body = r#"{"object":"list","data":[{"id":"m","object":"model","max_model_len":8192}]}"#;
                write(&self.epoll, number, connection, json(body).as_bytes())
            }
            Asks::Stats => {
                self.late.sort_unstable();
                let at = |share: f64| {
                    self.late.get((self.late.len() as f64 * share) as usize).map_or(0, Duration::as_micros)
                };
                let body = format!(r#"{{"chunks":{},"late_p99_us":{}}}"#, self.late.len(), at(0.99));
                self.late.clear();
                write(&self.epoll, number, connection, json(&body).as_bytes())
            }
            Asks::Completion if self.pace.itl.is_zero() => {
                let mut bytes = Vec::with_capacity(self.pace.chunks * (EVENT.len() + 8) + 512);
                (0..=self.pace.chunks).for_each(|chunk| append_chunk(&mut bytes, chunk, self.pace.chunks));
                write(&self.epoll, number, connection, &bytes)
            }
            Asks::Completion => {
                self.first.push_back(Due { at: Instant::now() + self.pace.ttft, number, chunk: 0 });
                Ok(())
            }
        }
    }

    /// Writes every chunk that is due.
    fn emit(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let now = Instant::now();
            let is_due = |queue: &VecDeque<Due>| queue.front().is_some_and(|due| due.at <= now);
            let Some(due) = (if is_due(&self.next) {
                self.next.pop_front()
            } else if is_due(&self.first) {
                self.first.pop_front()
            } else {
                None
            }) else {
                return Ok(());
            };
            let Due { at, number, chunk } = due;
            let Some(connection) = &mut self.connections[number] else { continue };
            bytes.clear();
            append_chunk(&mut bytes, chunk, self.pace.chunks);
            let is_last = chunk + 1 == self.pace.chunks;
            if is_last {
                append_chunk(&mut bytes, chunk + 1, self.pace.chunks);
            }
            write(&self.epoll, number, connection, &bytes)?;
            self.late.push(now - at);
            if !is_last {
                self.next.push_back(Due { at: at + self.pace.itl, number, chunk: chunk + 1 });
            }
        }
    }
}

/// What a client wants.
#[derive(Clone, Copy)]
enum Asks {
    Models,
    Stats,
    Completion,
}

/// What a request asks for, once all of it has come.
fn whole_request(received: &[u8]) -> Option<Asks> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    if received.len() < end + 4 + length {
        return None;
    }
    Some(match () {
        () if head.starts_with("get /stats") => Asks::Stats,
        () if head.starts_with("get ") => Asks::Models,
        () => Asks::Completion,
    })
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Chunk `number` of `chunks` with the response's head before the first, and usage and the end for the one after the last.
fn append_chunk(bytes: &mut Vec<u8>, number: usize, chunks: usize) {
    if number == 0 {
        bytes.extend_from_slice(HEAD.as_bytes());
    }
    let mut framed = |event: &str| {
        // Writing to a Vec cannot fail.
        let _ = write!(bytes, "{:x}\r\n{event}\r\n", event.len());
    };
    if number < chunks {
        framed(EVENT);
    } else {
        framed(&format!(
            "data: {{\"id\":\"cmpl-6f3a0d52c1f94d0ebfa1c3a5d9b7e802\",\"object\":\"text_completion\",\"created\":1700000000,\
             \"model\":\"m\",\"choices\":[],\"usage\":{{\"prompt_tokens\":8,\"total_tokens\":{},\
             \"completion_tokens\":{chunks}}}}}\n\n",
            chunks + 8
        ));
        framed("data: [DONE]\n\n");
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
}

/// Writes what the socket takes and keeps the rest for when it takes more.
fn write(epoll: &Epoll, number: usize, connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    if !connection.unsent.is_empty() {
        connection.unsent.extend_from_slice(bytes);
        return Ok(());
    }
    // A client that is gone is noticed when its socket is read.
    let taken = unless_blocked(connection.socket.write(bytes)).unwrap_or(Some(bytes.len())).unwrap_or(0);
    connection.unsent.extend_from_slice(&bytes[taken..]);
    let blocked = !connection.unsent.is_empty();
    if blocked != connection.waits_to_write {
        connection.waits_to_write = blocked;
        let interest = if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        epoll.modify(connection.socket.as_fd(), &mut EpollEvent::new(interest, number as u64))?;
    }
    Ok(())
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
