//! What sessions in containers find themselves in.

use super::{
    docker::{ask, engine, name, worlds},
    *,
};

/// Another image, of the tests' own, with what `docker commit --change` makes of it.
struct Image(String);

impl Image {
    fn new(change: &str) -> Self {
        let container = engine(&["create", IMAGE, "true"]);
        let made = Self(format!("alpine-test-{}", SessionId::generate()));
        engine(&["commit", "--change", change, &container, &made.0]);
        engine(&["rm", &container]);
        made
    }

    fn id(&self) -> String {
        engine(&["image", "inspect", "-f", "{{.Id}}", &self.0])
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // After a test that failed something may yet run in it.
        let removed = ask(&["image", "rm", "-f", &self.0]);
        assert!(removed.status.success() || std::thread::panicking(), "{removed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_made_of_its_classs_image_and_keeps_it() {
    if docker().is_none() {
        return;
    }
    let image = Image::new("ENV OF_A_CLASS=1");
    let size = Size { image: Some(image.0.clone()), ..Size::default() };
    let world = World::with(Mode::Docker, |settings| settings.sizes = vec![size.clone()]);
    let handle = world.provider.ensure(&SandboxSpec { fence: FENCE - 1, size, ..spec(SessionId::generate()) }).await.unwrap();
    let of = |handle: &Handle, what: &str| engine(&["inspect", "-f", what, &name(handle)]);
    let first = of(&handle, "{{.Id}}");
    assert_eq!(of(&handle, "{{.Config.Image}} {{.Image}}"), format!("{} {}", image.0, image.id()));
    assert_eq!(of(&world.session().await, "{{.Config.Image}}"), IMAGE, "who asks for nothing has what all have");
    // Whoever comes later may say something else, or know of no sizes.
    let again = provider(Mode::Docker, &Settings { sizes: Vec::new(), ..world.settings.clone() });
    let other = Size { image: Some(IMAGE.to_owned()), ..Size::default() };
    again.ensure(&SandboxSpec { size: other, ..spec(handle.session) }).await.unwrap();
    assert_eq!(of(&handle, "{{.Id}}"), first);
    engine(&["rm", "-f", &first]);
    again.ensure(&spec(handle.session)).await.unwrap();
    assert_eq!(of(&handle, "{{.Config.Image}} {{.Image}}"), format!("{} {}", image.0, image.id()), "made anew too");
    assert_eq!(run(&again, &handle, sh("touch here")).await.0, Exit::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_or_has_volumes_is_refused_at_the_start_whoever_names_it() {
    let Some(world) = worlds() else { return };
    let volume = Image::new("VOLUME /x");
    let refused = |settings: DockerSettings| {
        let made = std::thread::spawn(move || HostProvider::docker(settings, runtime())).join().unwrap();
        match made {
            Err(ProviderError::Permanent { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    for (image, why) in [("no-such-image", "there is no image no-such-image"), (&volume.0, "has volumes of its own")] {
        let said = refused(DockerSettings { image: image.to_owned(), ..docker_settings(&world.settings) });
        assert!(said.contains(why), "{said}");
        let good = Size { image: Some(IMAGE.to_owned()), ..Size::default() };
        let sizes = vec![good, Size::default(), Size { image: Some(image.to_owned()), ..Size::default() }];
        let said = refused(DockerSettings { sizes, ..docker_settings(&world.settings) });
        assert!(said.contains(why), "{said}");
    }
}
