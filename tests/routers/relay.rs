//! A connection between two processes that can be cut.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes bytes on to another port until it is cut.
pub struct Relay {
    pub url: String,
    /// Of a process that starts again elsewhere, the port changes and its URL does not.
    pub port: Arc<AtomicU16>,
    is_cut: watch::Sender<bool>,
}

impl Relay {
    /// One that leads nowhere yet.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_cut, cut) = watch::channel(false);
        let port = Arc::new(AtomicU16::new(0));
        let to = port.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut cut, port) = (cut.clone(), to.load(Ordering::Relaxed));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.wait_for(|is_cut| *is_cut) => {}
                        () = pass(near, port) => {}
                    }
                });
            }
        });
        Self { url, port, is_cut }
    }

    /// Breaks the connections off and takes none, or takes them again.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

async fn pass(mut near: TcpStream, port: u16) {
    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await {
        // How either side ends is seen by the other, which is all that matters here.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
