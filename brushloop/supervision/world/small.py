"""The small world: what the shipped models know. Nothing of it may change, or their figures mean nothing."""

from __future__ import annotations

from brushloop.supervision.world.nouns import Speech, World, things

OBJECTS = things(
    """
    apple::red-apple* banana:: strawberry:strawberries: carrot:: mushroom::*
    cat::cat-face dog::dog-face fish:fish:tropical-fish bird::* butterfly:butterflies:* turtle:: octopus:octopuses:*
    crab::* frog:: penguin:: whale::spouting-whale rabbit::rabbit-face pig::pig-face bee::honeybee
    tree::deciduous-tree pine::evergreen-tree cactus:cactuses: tulip::* sunflower::
    sun:: moon::crescent-moon star::* cloud::
    house:: car::automobile* rocket:: boat::sailboat balloon::* umbrella::* book::closed-book* gift::wrapped-gift*
    key::* bell::* ball::soccer-ball cup::hot-beverage cake::birthday-cake heart::red-heart* crown:: hat::top-hat
    """
)

SPEECH = Speech(
    scenery={
        "plain": "plain paper", "sky": "a sky", "meadow": "a meadow", "beach": "a beach",
        "night": "a night sky", "desert": "a desert", "snow": "snow", "sea": "the sea",
    },
    settings={
        "plain": ("on plain paper", "on a plain background"),
        "sky": ("in the sky", "in a blue sky"),
        "meadow": ("in a meadow", "on a green meadow"),
        "beach": ("on a beach", "at the beach"),
        "night": ("at night", "in the night sky"),
        "desert": ("in a desert", "in the desert"),
        "snow": ("in the snow", "on snow"),
        "sea": ("at sea", "on the sea"),
    },
    between={
        "left": ("left of", "to the left of"),
        "right": ("right of", "to the right of"),
        "above": ("above", "over"),
        "below": ("below", "under"),
    },
)  # fmt: skip

SMALL = World(
    "small",
    OBJECTS,
    styles=("flat", "soft"),
    backgrounds=tuple(SPEECH.scenery),
    colors=("red", "orange", "yellow", "green", "blue", "purple"),
    speech=SPEECH,
)
