//! A server that listens until it is dropped.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connection;
use crate::message::{Reply, Request};

/// A server that cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}; choose another port")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub source: std::io::Error,
}

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// The reply to a request. It is called in many threads at once.
    fn answer(&self, request: Request) -> Reply;

    /// The reply to what is no request that is served, in the form of this service's errors.
    fn refuse(&self, status: u16, reason: &str) -> Reply;
}

/// How long to wait after a connection could not be taken, for example because there are too many files.
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; it stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server, with a thread for each connection; port 0 takes a free one.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn start(address: SocketAddr, service: impl Service) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let service = Arc::new(service);
        let stopped = stop.clone();
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                match stream {
                    Ok(stream) => {
                        let (stop, service) = (stopped.clone(), service.clone());
                        std::thread::spawn(move || connection::serve(stream, &stop, service.as_ref()));
                    }
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        Ok(Server { address, stop, listening: Some(listening) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the program ends.
    pub fn wait(mut self) {
        if let Some(listening) = self.listening.take() {
            // A thread that panicked has said so.
            let _ = listening.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(listening) = self.listening.take() {
            // Wakes the listener; it fails where the listener is gone already.
            drop(TcpStream::connect(self.address));
            // As above.
            let _ = listening.join();
        }
    }
}
