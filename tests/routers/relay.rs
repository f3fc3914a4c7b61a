//! A connection between two processes that can be cut.

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes bytes on to another port until it is cut.
pub struct Relay {
    pub url: String,
    is_cut: watch::Sender<bool>,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.wait_for(|is_cut| *is_cut) => {}
                        () = pass(near, port) => {}
                    }
                });
            }
        });
        Self { url, is_cut }
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
