"""The large world: all that there is. Of the models that ship, those of `embedded:large` know it.

Other names of things, colours and places follow the annotations of Unicode CLDR, as emojibase gathers them; only those
that mean one thing of this world alone are here.
"""

from __future__ import annotations

from dataclasses import replace

from brushloop.supervision.world.nouns import Speech, World, things
from brushloop.supervision.world.small import SMALL

KEEPING = ("banana", "penguin", "rabbit", "bee", "cloud", "rocket", "cup", "hat")
"""Objects of the small world that keep their own colours in this one too."""

OBJECTS = tuple(replace(thing, tintable=thing.name not in KEEPING) for thing in SMALL.things) + things(
    """
    bear::* panda:: tiger::tiger-face* lion::* monkey::monkey-face* cow::cow-face horse::horse-face* fox:foxes:*
    wolf:wolves: koala:: mouse:mice:mouse-face chick::front-facing-baby-chick* rooster:: duck:: owl::* eagle::*
    dove:: turkey::* snail::* ant::* spider::* scorpion::* snake::* lizard::* crocodile::* dragon::dragon-face*
    dolphin::* shark:: squid::* shrimp::* blowfish:blowfish:* elephant:: rhino::rhinoceros camel::* gorilla::*
    leopard::* deer:deer:* goat:: sheep:sheep:ewe boar::* unicorn:: bat::* ladybug::lady-beetle* caterpillar::bug*
    shell::spiral-shell poodle:: chipmunk::*

    palm::palm-tree* rose::* hibiscus:hibiscuses:* cherry_blossom::* maple_leaf:maple_leaves:*
    clover::four-leaf-clover* seedling::* bouquet::* chestnut::* pumpkin::jack-o-lantern*

    pear::* tangerine::* lemon::* watermelon::* bunch_of_grapes:bunches_of_grapes:grapes* melon::* pineapple::*
    peach:peaches:* cherry:cherries:cherries* kiwi::kiwi-fruit* tomato:tomatoes:* eggplant::* avocado::* cucumber::*
    ear_of_corn:ears_of_corn:* chilli:chillies:hot-pepper* potato:potatoes:* loaf_of_bread:loaves_of_bread:bread*
    croissant::* baguette::baguette-bread* cheese::cheese-wedge* egg::* hamburger::* pizza::* hot_dog::*
    box_of_fries:boxes_of_fries:french-fries* taco::* burrito::* box_of_popcorn:boxes_of_popcorn:popcorn*
    piece_of_sushi:pieces_of_sushi:sushi* cookie::* doughnut::* chocolate_bar::* candy:candies:* lollipop::*
    ice_cream::soft-ice-cream* stack_of_pancakes:stacks_of_pancakes:pancakes* honey_pot::*
    glass_of_milk:glasses_of_milk:glass-of-milk wine_glass:wine_glasses: beer_mug:: cocktail::cocktail-glass
    tropical_drink::* baby_bottle:: spoon:: knife:knives:kitchen-knife drumstick::poultry-leg* rice_ball::
    bento_box:bento_boxes: champagne_bottle::bottle-with-popping-cork plate::fork-and-knife-with-plate custard::*
    shortcake::* bowl_of_soup:bowls_of_soup:steaming-bowl* salad::green-salad peanut::peanuts*

    bus:buses: truck::delivery-truck* fire_engine::* ambulance:: police_car:: taxi::* tractor:: train::locomotive
    tram:: bicycle:: scooter::motor-scooter* motorcycle::* plane::airplane* helicopter::* ship:: speedboat::
    canoe::* satellite::* anchor::* traffic_light::vertical-traffic-light ferris_wheel:: tent::* kick_scooter::*
    cable_car::aerial-tramway fuel_pump::*

    castle:: church:churches: school::* hospital:: factory:factories: tower::tokyo-tower* fountain::
    temple::classical-building skyscraper::office-building mosque:: statue::statue-of-liberty* circus_tent::*
    shrine::shinto-shrine*

    shirt::t-shirt* dress:dresses:* running_shoe:: boot::womans-boot* high_heel::high-heeled-shoe*
    sandal::womans-sandal* pair_of_sunglasses:pairs_of_sunglasses:sunglasses* pair_of_jeans:pairs_of_jeans:jeans*
    handbag::* backpack::* ring:: lipstick::* bikini::* kimono::* graduation_cap:: ribbon::* purse::*
    gem::gem-stone* helmet::rescue-workers-helmet*

    guitar::* violin::* trumpet::* saxophone::* drum:: piano::musical-keyboard microphone::
    pair_of_headphones:pairs_of_headphones:headphone radio:: note::musical-note*

    football::american-football* basketball::* baseball:: tennis_racket::tennis volleyball::
    golf_flag::flag-in-hole* trophy:trophies:* medal::sports-medal* boxing_glove::* paddle::ping-pong* ice_skate::
    dice:dice:game-die joystick:: game_controller::video-game pool_ball::pool-8-ball* crystal_ball::
    snowman:snowmen:snowman-without-snow party_popper:: ski::skis* hockey_stick::ice-hockey* spade::spade-suit*
    club::club-suit* diamond::diamond-suit*

    hammer:: wrench:wrenches: pickaxe::pick* pair_of_scissors:pairs_of_scissors:scissors* paintbrush:paintbrushes:
    pencil::* crayon::* ruler::straight-ruler paperclip:: bolt::nut-and-bolt gear:: dagger:: bow::bow-and-arrow*
    shield:: bomb:: light_bulb::* candle:: flashlight:: battery:batteries:* plug::electric-plug* telescope::
    microscope:: magnifying_glass:magnifying_glasses:magnifying-glass-tilted-left
    hourglass:hourglasses:hourglass-done watch:watches: alarm_clock::* phone::mobile-phone telephone::* camera::
    television:: computer::laptop* keyboard:: printer:: floppy_disk:: door::* bed::* bathtub:: toilet::
    lock::locked* envelope:: package::* newspaper:: scroll:: money_bag::* credit_card::* shopping_cart::
    flag::triangular-flag* mailbox:mailboxes:closed-mailbox-with-raised-flag* pill::* syringe::* thermometer::
    vase::amphora* globe::globe-showing-europe-africa* briefcase::* palette::artist-palette*
    film_camera::movie-camera calendar:: picture_frame::framed-picture* pushpin::* megaphone::* folder::file-folder*
    clapperboard::clapper-board barber_pole:: ticket::* label::* shopping_bag::shopping-bags*
    balance::balance-scale*

    lightning_bolt::high-voltage* snowflake::* rainbow:: tornado:tornadoes: fire::* drop::droplet* wave::water-wave*
    comet:: volcano:volcanoes: thundercloud::cloud-with-lightning raincloud::cloud-with-rain

    robot:: ghost:: alien:: skull:: mask::performing-arts* eye:: mouth::* paw_print::paw-prints*
    pair_of_swords:pairs_of_swords:crossed-swords broken_heart::* lantern::red-paper-lantern* santa::santa-claus

    sign_that_says_open:signs_that_say_open:sign-open* sign_that_says_stop:signs_that_say_stop:sign-stop*
    sign_that_says_sale:signs_that_say_sale:sign-sale* sign_that_says_cafe:signs_that_say_cafe:sign-cafe*
    sign_that_says_exit:signs_that_say_exit:sign-exit* sign_that_says_hello:signs_that_say_hello:sign-hello*
    sign_that_says_menu:signs_that_say_menu:sign-menu* sign_that_says_taxi:signs_that_say_taxi:sign-taxi*
    sign_that_says_zoo:signs_that_say_zoo:sign-zoo* sign_that_says_yes:signs_that_say_yes:sign-yes*
    sign_that_says_no:signs_that_say_no:sign-no* sign_that_says_bus:signs_that_say_bus:sign-bus*
    """
)

SYNONYMS = """
    automobile=car auto=car motorcar=car kitty=cat kitten=cat tomcat=cat puppy=dog hound=dog bunny=rabbit piglet=pig
    honeybee=bee birdie=bird sailboat=boat sailing_boat=boat present=gift soccer_ball=ball birthday_cake=cake
    top_hat=hat
    evergreen=pine pine_tree=pine fir_tree=pine crescent_moon=moon home=house hot_coffee=cup toadstool=mushroom
    spaceship=rocket

    grizzly=bear panda_bear=panda ape=gorilla squirrel=chipmunk ladybird=ladybug pony=horse stallion=horse stag=deer
    lamb=sheep wild_pig=boar serpent=snake alligator=crocodile pufferfish:pufferfish=blowfish prawn=shrimp
    rhinoceros:rhinoceroses=rhino dromedary=camel baby_chicken=chick cockerel=rooster drake=duck pigeon=dove
    seashell=shell conch:conches=shell house_mouse:house_mice=mouse

    palm_tree=palm jack_o_lantern=pumpkin shamrock=clover sprout=seedling sapling=seedling
    bunch_of_flowers:bunches_of_flowers=bouquet mandarin=tangerine clementine=tangerine aubergine=eggplant
    corncob=ear_of_corn maize_cob=ear_of_corn hot_pepper=chilli kiwi_fruit:kiwi_fruit=kiwi cantaloupe=melon
    burger=hamburger cheeseburger=hamburger slice_of_pizza:slices_of_pizza=pizza frankfurter=hot_dog donut=doughnut
    biscuit=cookie sweet=candy bonbon=candy ice_cream_cone=ice_cream beer=beer_mug pint=beer_mug
    glass_of_wine:glasses_of_wine=wine_glass martini=cocktail chicken_leg=drumstick onigiri:onigiri=rice_ball
    lunch_box:lunch_boxes=bento_box pudding=custard noodle_soup=bowl_of_soup pot_of_honey:pots_of_honey=honey_pot
    groundnut=peanut

    lorry=truck fire_truck=fire_engine cab=taxi locomotive=train steam_train=train trolley_car=tram
    bike=bicycle pushbike=bicycle moped=scooter motorbike=motorcycle airplane=plane aeroplane=plane jet=plane
    chopper=helicopter steamer=ship vessel=ship motorboat=speedboat rowing_boat=canoe stoplight=traffic_light
    big_wheel=ferris_wheel gondola=cable_car petrol_pump=fuel_pump gas_pump=fuel_pump

    fortress:fortresses=castle chapel=church schoolhouse=school clinic=hospital office_building=skyscraper
    high_rise=skyscraper big_top=circus_tent

    tee=shirt gown=dress sneaker=running_shoe trainer=running_shoe stiletto=high_heel
    pair_of_shades:pairs_of_shades=pair_of_sunglasses pair_of_trousers:pairs_of_trousers=pair_of_jeans rucksack=backpack
    satchel=backpack swimsuit=bikini mortarboard=graduation_cap bow_tie=ribbon pouch:pouches=purse jewel=gem
    gemstone=gem
    hard_hat=helmet fiddle=violin sax:saxes=saxophone pair_of_earphones:pairs_of_earphones=pair_of_headphones
    mic=microphone musical_note=note

    american_football=football award=medal prize_cup=trophy gamepad=game_controller
    billiard_ball=pool_ball eight_ball=pool_ball confetti_popper=party_popper

    spanner=wrench cogwheel=gear cog=gear bow_and_arrow:bows_and_arrows=bow torch:torches=flashlight bulb=light_bulb
    magnifier=magnifying_glass sandglass:sandglasses=hourglass wristwatch:wristwatches=watch smartphone=phone
    mobile_phone=phone cell_phone=phone tv=television tv_set=television pc=computer laptop=computer diskette=floppy_disk
    bath=bathtub padlock=lock letter=envelope parcel=package moneybag=money_bag bank_card=credit_card
    shopping_trolley=shopping_cart trolley=shopping_cart pennant=flag postbox:postboxes=mailbox
    needle=syringe urn=vase amphora=vase earth=globe movie_camera=film_camera painting=picture_frame
    framed_picture=picture_frame thumbtack=pushpin tag=label weighing_scale=balance bullhorn=megaphone

    thunderbolt=lightning_bolt whirlwind=tornado flame=fire droplet=drop storm_cloud=thundercloud rain_cloud=raincloud
    android=robot spook=ghost extraterrestrial=alien pair_of_lips:pairs_of_lips=mouth eyeball=eye pawprint=paw_print
    paper_lantern=lantern father_christmas:father_christmases=santa
"""
"""Words `said:plural=name`; the usual plural where none is given, _ for a space."""


def _synonyms() -> dict[str, tuple[tuple[str, str], ...]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for row in SYNONYMS.split():
        said, name = (part.replace("_", " ") for part in row.split("="))
        one, _, several = said.partition(":")
        usual = f"{one[:-1]}ies" if one.endswith("y") and one[-2] not in "aeiou" else f"{one}s"
        found.setdefault(name, []).append((one, several or usual))
    for thing in OBJECTS:
        if thing.icon.startswith("sign-"):
            word = thing.icon.removeprefix("sign-")
            read = f"sign with {word} on it", f"signs with {word} on them"
            found[thing.name] = [(f"{word} sign", f"{word} signs"), read]
    return {name: tuple(forms) for name, forms in found.items()}


SPEECH = Speech(
    scenery={
        **SMALL.speech.scenery, "forest": "a forest", "mountains": "mountains", "city": "a city", "street": "a street",
        "garden": "a garden", "room": "a room", "sunset": "a sunset", "rain": "rain", "underwater": "the sea floor",
        "space": "outer space",
    },
    settings={
        "plain": (*SMALL.speech.settings["plain"], "on white paper", "before a plain background"),
        "sky": (*SMALL.speech.settings["sky"], "up in the sky", "before a blue sky"),
        "meadow": (*SMALL.speech.settings["meadow"], "in a green field", "on the grass", "in the meadow"),
        "beach": (*SMALL.speech.settings["beach"], "on the beach", "on the sand", "at the seaside"),
        "night": (*SMALL.speech.settings["night"], "by night", "under a night sky", "in a starry night"),
        "desert": (*SMALL.speech.settings["desert"], "in a sandy desert", "among the dunes"),
        "snow": (*SMALL.speech.settings["snow"], "in winter", "in deep snow", "on the snow"),
        "sea": (*SMALL.speech.settings["sea"], "on the ocean", "on the water", "at the sea"),
        "forest": ("in a forest", "in the forest", "in the woods", "among the trees"),
        "mountains": ("in the mountains", "before the mountains", "in front of mountains", "among snowy mountains"),
        "city": ("in a city", "in the city", "in town", "before the skyline of a city"),
        "street": ("on a street", "in the street", "on the road", "on a street in town"),
        "garden": ("in a garden", "in the garden", "in a garden with flowers", "among the flowers"),
        "room": ("in a room", "in the room", "inside a house", "indoors"),
        "sunset": ("at sunset", "in the sunset", "in the evening", "under an evening sky"),
        "rain": ("in the rain", "in rain", "on a rainy day", "in bad weather"),
        "underwater": ("under water", "under the sea", "on the sea floor", "at the bottom of the sea"),
        "space": ("in space", "in outer space", "among the stars", "out in space"),
    },
    between={
        "left": ("left of", "to the left of", "on the left of", "on the left side of"),
        "right": ("right of", "to the right of", "on the right of", "on the right side of"),
        "above": ("above", "over", "higher than", "up above"),
        "below": ("below", "under", "beneath", "lower than"),
        "between": ("between", "in between", "in the middle between"),
    },
    leads=(
        "{}", "{}", "{}", "{}", "a picture of {}", "paint {}", "draw {}", "show {}", "show me {}", "please paint {}",
        "I would like {}", "an image of {}", "I want a picture of {}", "draw a picture of {}", "please draw {}",
        "could you paint {}", "can you draw {}", "a drawing of {}", "I would like a drawing of {}", "draw me {}",
        "make an image of {}", "create a picture of {}", "paint me {}", "a painting of {}", "make a drawing of {}",
    ),
    listings=(
        "{a} and {b}", "{a} and {b}", "{a} with {b}", "{a} and also {b}", "{a} together with {b}", "{a} as well as {b}",
        "{a} plus {b}", "{a}, also {b}",
    ),
    styled=(
        "{}, {style} style", "{} in {style} style", "{} in the {style} style", "{}, drawn in {style} style",
        "{}, painted in the {style} style", "{}, in {style} style", "{} drawn in the {style} style",
    ),
    synonyms=_synonyms(),
    tones={
        "red": ("crimson", "scarlet", "ruby"), "orange": ("amber", "apricot"), "yellow": ("golden", "canary"),
        "green": ("emerald", "lime", "jade"), "blue": ("navy", "azure", "cobalt"),
        "purple": ("violet", "plum", "mauve"), "pink": ("fuchsia", "rosy"),
        "brown": ("tan", "hazel"), "turquoise": ("teal", "aqua", "cyan"),
    },
    manners={
        "flat": ("plain and simple", "clip art"), "soft": ("shaded", "gentle"), "ink": ("linocut", "woodcut"),
        "retro": ("vintage", "old fashioned"),
    },
    sizes={"small": ("little", "tiny"), "large": ("big", "huge")},
    numbers={2: ("2", "a pair of", "a couple of"), 3: ("3",), 4: ("4",)},
)  # fmt: skip

LARGE = World(
    "large",
    OBJECTS,
    styles=("flat", "soft", "ink", "retro"),
    backgrounds=tuple(SPEECH.scenery),
    colors=(*SMALL.colors, "pink", "brown", "turquoise"),
    speech=SPEECH,
    tinted=0.4,
)
