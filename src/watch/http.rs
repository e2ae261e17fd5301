//! A run as a page: a server of three addresses, for whoever may look.
//!
//! `/` is a page without anything from elsewhere, `/state.json` what the page shows, `/events` the same again whenever
//! it changes (server-sent events). It reads requests of a few kilobytes, answers `GET` and nothing else, and writes no
//! file. Two things keep strangers out. A browser can be made to ask a server of its own machine by a page of another
//! (DNS rebinding), so without a token the `Host` of a request must be this machine. And other addresses than those of
//! this machine need a token, which is compared by its hash, so that the time of a comparison says nothing.
//!
//! It is written on `std` alone, apart from the parser of headers, because `bytes`, on which every other server is
//! built, would be compiled with other features for Burn as well.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// The page, with its style and script.
const PAGE: &str = include_str!("page.html");

/// Most bytes of a request, headers included.
const LONGEST_REQUEST: usize = 8 * 1024;

/// Most headers of a request.
const MOST_HEADERS: usize = 64;

/// Most requests at once.
const MOST_CONNECTIONS: usize = 32;

/// How long the request of a page is waited for that will be refused anyway.
const GLANCE: Duration = Duration::from_millis(100);

/// What a page is told that hears nothing: a comment, and how one learns that nobody reads any more.
const BEAT: &str = ": alive\n\n";

/// What only the page's own script and style may do: nothing is loaded from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What all pages show, and who waits for it to change.
#[derive(Default)]
struct Shared {
    /// How often it has changed, and the JSON.
    state: Mutex<(u64, Arc<str>)>,
    changed: Condvar,
}

/// How long the server waits.
#[derive(Clone, Copy)]
struct Patience {
    /// Whoever takes longer to ask, or to take the answer, is left.
    request: Duration,
    /// A page that hears nothing for this long is told that the server is alive.
    beat: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request: Duration::from_secs(5), beat: Duration::from_secs(10) }
    }
}

/// The server. It answers in threads of its own from the moment it is made.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Who may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Programs of this machine.
    ThisMachine,
    /// Whoever knows the token.
    Token(String),
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: SocketAddr, access: Access) -> io::Result<Self> {
        Self::start_with(address, access, Patience::default())
    }

    fn start_with(address: SocketAddr, access: Access, patience: Patience) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (theirs, door) = (Arc::clone(&shared), Arc::new(Door { access, patience }));
        std::thread::spawn(move || accept(&listener, &theirs, &door));
        Ok(Self { shared, address })
    }

    /// Where it listens: the port is known even if any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows something else from now on, a JSON text in one line.
    pub fn show(&self, json: &str) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state.1 != *json {
            *state = (state.0 + 1, json.into());
            self.shared.changed.notify_all();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, door: &Arc<Door>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // One that failed is gone; the next may not be.
        let Ok(stream) = stream else { continue };
        let (shared, door, open) = (Arc::clone(shared), Arc::clone(door), Arc::clone(&open));
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            let _ = turn_away(stream);
            continue;
        }
        std::thread::spawn(move || {
            // Whoever hangs up in the middle does no harm.
            let _ = serve(stream, &shared, &door);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Refuses one page too many, at once: nobody else is let in meanwhile. Its request is read first, as far as it is
/// there, since closing a socket with bytes that nobody has read would take the answer back.
fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(GLANCE))?;
    let _ = stream.read(&mut [0; LONGEST_REQUEST]);
    answer(stream, 503, "text/plain", "too many pages are open; close one\n")
}

/// What is asked of a request before it is answered.
struct Door {
    access: Access,
    patience: Patience,
}

impl Door {
    /// The refusal of a request, if it is refused.
    fn refuses(&self, request: &Request) -> Option<(u16, &'static str)> {
        match &self.access {
            Access::ThisMachine if is_this_machine(&request.host) => None,
            Access::ThisMachine => {
                Some((421, "the Host of this request is not this machine; ask for localhost or 127.0.0.1\n"))
            }
            Access::Token(token) if request.token.as_deref().is_some_and(|given| same(given, token)) => None,
            Access::Token(_) => {
                Some((401, "the token is missing or wrong; use the address that was printed\n"))
            }
        }
    }
}

/// Whether a `Host` names this machine by number or as `localhost`, which nobody else can make resolve to it. The port
/// says nothing of that: at the near end of a tunnel it is another one.
fn is_this_machine(host: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| digits(port)).map_or(host, |(name, _)| name);
    let number = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || number.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether two tokens are the same, in a time that depends on neither: their hashes differ everywhere or nowhere.
fn same(given: &str, token: &str) -> bool {
    let [given, token] = [given, token].map(|text| Sha256::digest(text.as_bytes()));
    given.iter().zip(token.iter()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// What matters of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    get: bool,
    path: String,
    host: String,
    token: Option<String>,
}

impl Request {
    /// From the bytes so far; `None` while they are not the whole of it.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ()> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(bytes).map_err(|_| ())?.is_partial() {
            return Ok(None);
        }
        let (path, query) = request.path.ok_or(())?.split_once('?').unwrap_or((request.path.ok_or(())?, ""));
        let value = |name: &str| {
            let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let of_query = query.split('&').find_map(|part| part.strip_prefix("token="));
        let token = of_query.or_else(|| value("authorization").and_then(|text| text.strip_prefix("Bearer ")));
        Ok(Some(Self {
            get: request.method == Some("GET"),
            path: path.to_owned(),
            host: value("host").unwrap_or_default().trim().to_owned(),
            token: token.map(str::to_owned),
        }))
    }

    /// Reads one; an error is what to answer.
    fn read(stream: &mut TcpStream, patience: Duration) -> Result<Self, (u16, &'static str)> {
        let (mut bytes, mut part) = (Vec::new(), [0; 1024]);
        let since = Instant::now();
        while bytes.len() < LONGEST_REQUEST {
            let read = stream.read(&mut part).unwrap_or(0);
            if read == 0 || since.elapsed() > patience {
                return Err((408, "the request has no end\n"));
            }
            bytes.extend_from_slice(&part[..read]);
            match Self::parse(&bytes) {
                Ok(Some(request)) => return Ok(request),
                Ok(None) => {}
                Err(()) => return Err((400, "this is no HTTP request\n")),
            }
        }
        Err((431, "the request is too long\n"))
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, door: &Door) -> io::Result<()> {
    let Patience { request: patience, beat } = door.patience;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = match Request::read(&mut stream, patience) {
        Ok(request) => request,
        Err((code, text)) => return answer(stream, code, "text/plain", text),
    };
    if !request.get {
        return answer(stream, 405, "text/plain", "only GET\n");
    }
    if let Some((code, text)) = door.refuses(&request) {
        return answer(stream, code, "text/plain", text);
    }
    match request.path.as_str() {
        "/" => answer(stream, 200, "text/html", PAGE),
        "/state.json" => {
            let json = Arc::clone(&shared.state.lock().unwrap_or_else(PoisonError::into_inner).1);
            answer(stream, 200, "application/json", &json)
        }
        "/events" => stream_events(stream, shared, beat),
        _ => answer(stream, 404, "text/plain", "there is /, /state.json and /events\n"),
    }
}

/// The first lines of an answer.
fn head(code: u16, kind: &str) -> String {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Connection: close\r\n"
    )
}

fn answer(mut stream: TcpStream, code: u16, kind: &str, body: &str) -> io::Result<()> {
    write!(stream, "{}Content-Length: {}\r\n\r\n{body}", head(code, kind), body.len())?;
    stream.flush()
}

/// The state now, and again whenever it changes, until the reader is gone.
fn stream_events(mut stream: TcpStream, shared: &Shared, beat: Duration) -> io::Result<()> {
    write!(stream, "{}\r\n", head(200, "text/event-stream"))?;
    let mut seen = None;
    loop {
        let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |state: &mut (u64, Arc<str>)| seen == Some(state.0);
        let waited = shared.changed.wait_timeout_while(state, beat, old);
        let (number, json) = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        if seen == Some(number) {
            stream.write_all(BEAT.as_bytes())?;
        } else {
            seen = Some(number);
            write!(stream, "data: {json}\n\n")?;
        }
        stream.flush()?;
    }
}

#[cfg(test)]
mod tests;
