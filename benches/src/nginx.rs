//! nginx from the distribution as a server: one worker, pinned, with small and large files.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bare::Outcome;

/// A running nginx; it ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts one worker on `core`, serving `/small`, `/64k` and `/1m`.
    ///
    /// # Errors
    /// If nginx is not installed or does not answer within five seconds.
    pub fn start(core: usize) -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("ringshot-bench-{}", std::process::id()));
        let root = folder.join("root");
        std::fs::create_dir_all(&root)?;
        std::fs::write(root.join("small"), b"Hello, world\n")?;
        std::fs::write(root.join("64k"), vec![b'x'; 64 << 10])?;
        std::fs::write(root.join("1m"), vec![b'x'; 1 << 20])?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let path = folder.display();
        let mask = format!("{:b}", 1_u128 << core.min(127));
        let text = format!(
            "daemon off; worker_processes 1; worker_cpu_affinity {mask}; pid {path}/pid; error_log {path}/error.log;\n\
             events {{ worker_connections 16384; multi_accept on; }}\n\
             http {{ access_log off; sendfile on; open_file_cache max=16; keepalive_requests 1000000000;\n\
             client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c; uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
             server {{ listen {address} backlog=4096; root {path}/root; location = /small {{ return 200 \"Hello, world\\n\"; }} }} }}\n"
        );
        // A root user is dropped to nobody by default, who may not read the folder.
        let user = if std::env::var("USER").as_deref() == Ok("root")
            || std::path::Path::new("/root").metadata().is_ok()
        {
            "user root;\n"
        } else {
            ""
        };
        std::fs::File::create(folder.join("conf"))?
            .write_all(format!("{user}{text}").as_bytes())?;
        let child = Command::new("nginx")
            .args(["-c".into(), folder.join("conf"), "-p".into(), folder.clone()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let this = Self { child, folder, address };
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("nginx does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(this)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM is a fast shutdown (nginx(8)); the master takes its worker along.
        let id = self.child.id().cast_signed();
        // SAFETY: kill(2) takes no pointer, and the process is our child, not yet reaped.
        unsafe { libc::kill(id, libc::SIGTERM) };
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
