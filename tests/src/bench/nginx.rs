//! nginx as a proxy before one session's program: over TLS with the server's own certificate, as many workers as there are cores.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

use super::load::Connection;
use crate::{base, pki::Pki, wait::until};

/// Its two ways to what is behind it.
#[derive(Debug)]
pub struct Nginx {
    /// A connection a request: what it does where nobody says otherwise.
    pub fresh: u16,
    /// Connections kept for the next request.
    pub kept: u16,
    child: Child,
}

impl Nginx {
    /// `authorization` is sent in the place of what callers say.
    pub async fn start(dir: &Path, pki: &Pki, upstream: SocketAddr, authorization: &str) -> anyhow::Result<Self> {
        let (fresh, kept) = (base::free_port(), base::free_port());
        std::fs::create_dir(dir)?;
        let configuration = dir.join("nginx.conf");
        std::fs::write(&configuration, written(dir, pki, upstream, authorization, (fresh, kept))?)?;
        let mut command = Command::new("nginx");
        // Where Debian has it, which is on root's path alone.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["-e", "stderr", "-c"]).arg(&configuration).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().context("nginx runs (Debian's nginx-light)")?;
        let nginx = Self { fresh, kept, child };
        until("nginx listens", Duration::from_secs(10), || async { Connection::open(fresh, pki).await.ok().map(drop) }).await;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers see that it is gone only when it tells them.
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn written(dir: &Path, pki: &Pki, upstream: SocketAddr, authorization: &str, ports: (u16, u16)) -> anyhow::Result<String> {
    let workers = std::thread::available_parallelism()?;
    let (dir, cert, key) = (dir.display(), pki.cert.display(), pki.key.display());
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let server = |port, pass, connection| {
        format!(
            r#"server {{
        listen 127.0.0.1:{port} ssl backlog=512;
        location / {{
            proxy_pass http://{pass};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header Authorization "{authorization}";
            proxy_set_header Connection "{connection}";
        }}
    }}"#
        )
    };
    let (fresh, kept) = (server(ports.0, "fresh", "close"), server(ports.1, "kept", ""));
    Ok(format!(
        r"{user}
daemon off;
worker_processes {workers};
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    keepalive_requests 1000000000;
    # What a caller does not read waits in memory, not in a file.
    proxy_max_temp_file_size 0;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream fresh {{ server {upstream}; }}
    upstream kept {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
    {fresh}
    {kept}
}}
"
    ))
}
