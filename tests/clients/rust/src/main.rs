fn main(){ println!("{:?}", alpine_client::models::SessionState::Ready); }
