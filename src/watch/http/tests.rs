//! The server through a plain socket.

use super::*;

/// How long a test waits for bytes that must come.
const LONG: Duration = Duration::from_mins(10);

fn server(access: Access) -> Server {
    patient_server(access, Patience { request: LONG, ..Patience::default() })
}

fn patient_server(access: Access, patience: Patience) -> Server {
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start_with(address, access, patience).expect("a port is free");
    server.show("{\"kind\":\"train\"}");
    server
}

/// The whole answer to some bytes.
fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a time");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn get(server: &Server, path: &str, host: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn the_page_and_its_state() {
    let server = server(Access::ThisMachine);
    let page = get(&server, "/", "localhost");
    assert_eq!(code(&page), "200");
    assert!(
        page.contains("Content-Security-Policy: default-src 'none'") && page.contains("<!doctype html>"),
        "{page}"
    );
    let body = page.split_once("\r\n\r\n").expect("a body").1;
    assert!(page.contains(&format!("Content-Length: {}\r\n", body.len())));
    // Nothing is fetched from elsewhere, and nothing of a log is ever taken for markup.
    assert!(!["http://", "https://", "innerHTML", "src="].iter().any(|word| body.contains(word)));
    let state = get(&server, "/state.json", &server.address().to_string());
    assert!(state.ends_with("\r\n\r\n{\"kind\":\"train\"}") && state.contains("application/json"), "{state}");
    assert_eq!(code(&get(&server, "/etc/passwd", "localhost")), "404");
}

#[test]
fn changes_arrive_as_they_come() {
    let server = server(Access::ThisMachine);
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a time");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut heard = String::new();
    let mut until = |end: &str| {
        let mut part = [0; 256];
        while !heard.ends_with(end) {
            let read = stream.read(&mut part).expect("more");
            assert!(read > 0, "it ended after {heard}");
            heard.push_str(std::str::from_utf8(&part[..read]).expect("UTF-8"));
            // Where a test takes long the server says so meanwhile.
            heard = heard.replace(BEAT, "");
        }
        heard.clone()
    };
    assert!(until("data: {\"kind\":\"train\"}\n\n").contains("text/event-stream"));
    server.show("{\"kind\":\"train\"}");
    server.show("{\"kind\":\"audit\"}");
    // What did not change was not sent again.
    assert!(
        until("audit\"}\n\n")
            .ends_with("\r\n\r\ndata: {\"kind\":\"train\"}\n\ndata: {\"kind\":\"audit\"}\n\n")
    );
}

#[test]
fn pages_of_other_hosts_are_refused() {
    let server = server(Access::ThisMachine);
    let port = server.address().port();
    for host in [
        "localhost:80.evil.example",
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost.evil.example",
    ] {
        assert_eq!(code(&get(&server, "/state.json", host)), "421", "{host}");
    }
    // At the near end of a tunnel the port is another one.
    let own = [
        "localhost".to_owned(),
        "localhost:9".to_owned(),
        "[::1]".to_owned(),
        format!("LOCALHOST:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ];
    for host in own {
        assert_eq!(code(&get(&server, "/state.json", &host)), "200", "{host}");
    }
}

#[test]
fn a_token_opens_and_nothing_else_does() {
    let server = server(Access::Token("secret".to_owned()));
    for path in
        ["/", "/state.json", "/events", "/state.json?token=", "/state.json?token=secre", "/?x=1&token=Secret"]
    {
        let answer = get(&server, path, "localhost");
        assert_eq!(code(&answer), "401", "{path}");
        assert!(!answer.contains("train"), "{answer}");
    }
    assert_eq!(code(&get(&server, "/state.json?token=secret", "my-server.example")), "200");
    let bearer = "GET /state.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n";
    assert_eq!(code(&ask(&server, bearer)), "200");
}

#[test]
fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let server = server(Access::ThisMachine);
    assert_eq!(code(&ask(&server, "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")), "405");
    assert_eq!(code(&ask(&server, "nonsense\r\n\r\n")), "400");
    assert_eq!(code(&ask(&server, "\u{16}\u{3}\u{1}\r\n\r\n")), "400");
    let begun = "GET / HTTP/1.1\r\nHost: ";
    let endless = format!("{begun}{}", "x".repeat(LONGEST_REQUEST - begun.len()));
    assert_eq!(code(&ask(&server, &endless)), "431");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1));
    assert_eq!(code(&ask(&server, &many)), "400");
    // Somebody who hangs up in the middle.
    drop(TcpStream::connect(server.address()).expect("it listens"));
    assert_eq!(code(&get(&server, "/state.json", "localhost")), "200");
}

#[test]
fn whoever_does_not_ask_is_left() {
    let short = Patience { request: Duration::from_millis(50), ..Patience::default() };
    let server = patient_server(Access::ThisMachine, short);
    assert_eq!(code(&ask(&server, "")), "408");
    assert_eq!(code(&ask(&server, "GET / HTTP/1.1\r\nHost: local")), "408");
}

#[test]
fn more_pages_than_there_may_be_are_refused_until_one_is_closed() {
    let often = Patience { request: LONG, beat: Duration::from_millis(10) };
    let server = patient_server(Access::ThisMachine, often);
    let open = || {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a time");
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        // A page that has heard something is one that is counted.
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let pages: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| open()).collect();
    assert_eq!(code(&ask(&server, "")), "503");
    drop(pages);
    // That they are gone is noticed when the server next tells them that it is alive.
    let once_more = || {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a time");
        // Whoever is refused may be cut off before having asked.
        let _ = stream.write_all(b"GET /state.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let since = Instant::now();
    loop {
        let answer = once_more();
        if code(&answer) == "200" {
            break;
        }
        assert!(since.elapsed() < LONG, "the places of closed pages stay taken: {answer}");
    }
}

#[test]
fn tokens_are_compared_whole() {
    assert!(same("abc", "abc"));
    assert!(!same("abc", "abd") && !same("", "abc") && !same("abcd", "abc"));
}
